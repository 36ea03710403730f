"""The codec of the wire to sandboxes, alone and against libzmq."""

from __future__ import annotations

import asyncio
import itertools
import os
import stat
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import zmq
import zmq.asyncio
from hypothesis import given
from hypothesis import strategies as st

from sandkasten_kernels.engines import Arrival, HostSandbox, SandboxSpec
from sandkasten_kernels.protocol import zmtp
from sandkasten_kernels.protocol.sockets import SocketError, ZmtpSocket

frames = st.lists(st.binary(max_size=600), min_size=1, max_size=6)


def fed(decoder: zmtp.Decoder, data: bytes, cuts: list[int]) -> list[object]:
    """Return what a decoder makes of ``data`` when it arrives in pieces."""
    events: list[object] = []
    edges = [0, *sorted(cut % (len(data) + 1) for cut in cuts), len(data)]
    for start, end in itertools.pairwise(edges):
        events += decoder.feed(data[start:end])
    return events


@given(st.lists(frames, max_size=5), st.lists(st.integers(min_value=0, max_value=10**6), max_size=8))
def test_messages_come_back_whole_however_the_bytes_are_cut(messages: list[list[bytes]], cuts: list[int]) -> None:
    data = zmtp.GREETING + zmtp.ready("ROUTER") + b"".join(map(zmtp.encode, messages))
    ready, *rest = fed(zmtp.Decoder(1 << 20), data, cuts)
    assert isinstance(ready, zmtp.ZmtpCommand)
    assert ready.name == b"READY"
    assert rest == messages


@given(st.lists(frames, max_size=6), st.lists(st.integers(min_value=0, max_value=10**6), max_size=8))
def test_a_message_above_the_limit_is_told_and_the_next_ones_arrive(
    messages: list[list[bytes]], cuts: list[int]
) -> None:
    limit = 500
    events = fed(zmtp.Decoder(limit), zmtp.GREETING + b"".join(map(zmtp.encode, messages)), cuts)
    assert len(events) == len(messages)
    for message, event in zip(messages, events, strict=True):
        size = sum(map(len, message))
        if size <= limit:
            assert event == message
        else:
            assert isinstance(event, zmtp.Oversized)
            assert event.size == size
            assert event.frames == message[: len(event.frames)]


def test_a_message_that_never_ends_holds_no_memory() -> None:
    decoder = zmtp.Decoder(max_bytes=10_000, max_frames=100)
    assert not list(decoder.feed(zmtp.GREETING))
    endless = (bytes((zmtp.MORE, 255)) + bytes(255)) * 1000
    for _ in range(20):
        assert not list(decoder.feed(endless))
    assert len(decoder._buffer) + sum(map(len, decoder._frames)) < 20_000
    (event,) = decoder.feed(bytes((0, 0)))
    assert isinstance(event, zmtp.Oversized)
    assert list(decoder.feed(zmtp.encode([b"next"]))) == [[b"next"]]


class TinyRoom(zmtp.MemoryBudget):
    SMALL_BYTES = 0


def decoder_in(room: zmtp.MemoryBudget, max_bytes: int) -> zmtp.Decoder:
    decoder = zmtp.Decoder(max_bytes)
    decoder.room = room
    return decoder


@given(
    st.lists(st.lists(frames, max_size=4), min_size=1, max_size=3),
    st.lists(st.tuples(st.integers(0, 2), st.integers(1, 400)), max_size=40),
)
def test_unfinished_messages_of_all_connections_share_their_room(
    connections: list[list[list[bytes]]], turns: list[tuple[int, int]]
) -> None:
    room = TinyRoom(500)
    decoders = [decoder_in(room, 1 << 20) for _ in connections]
    unsent = [zmtp.GREETING + b"".join(map(zmtp.encode, messages)) for messages in connections]
    events: list[list[Any]] = [[] for _ in connections]
    for which, size in [*turns, *((which, 1 << 30) for which in range(len(connections)))]:
        if which < len(connections):
            events[which] += decoders[which].feed(unsent[which][:size])
            unsent[which] = unsent[which][size:]
    for messages, came in zip(connections, events, strict=True):
        assert len(came) == len(messages)
        for message, event in zip(messages, came, strict=True):
            if isinstance(event, zmtp.Oversized):
                assert event.size == sum(map(len, message))
            else:
                assert event == message


def test_a_message_that_is_kept_unfinished_does_not_take_the_room_of_one_that_is_sent() -> None:
    room, mebibyte = zmtp.MemoryBudget(20 << 20), bytes(1 << 20)
    stalled, others = decoder_in(room, 16 << 20), decoder_in(room, 16 << 20)
    parts = [b"topic", b"<IDS|MSG>", b"", b"{}", b"parent", mebibyte * 10]
    for decoder in (stalled, others):
        assert not list(decoder.feed(zmtp.GREETING + zmtp.encode(parts)[:-1]))
    for _ in range(3):
        assert list(others.feed(b"\0")) == [parts]
        assert not list(others.feed(zmtp.encode(parts)[:-1]))
    assert len(stalled._buffer) + sum(map(len, stalled._frames)) < 1000
    (event,) = stalled.feed(b"\0")
    assert isinstance(event, zmtp.Oversized)
    assert (event.size, event.frames[4]) == (sum(map(len, parts)), b"parent")


@given(st.binary(max_size=300))
def test_noise_ends_in_a_protocol_error_or_in_waiting(noise: bytes) -> None:
    decoder = zmtp.Decoder(1000)
    try:
        list(decoder.feed(zmtp.GREETING + noise))
        list(zmtp.Decoder(1000).feed(noise))
    except zmtp.ProtocolError:
        pass


@pytest.fixture
def directory(tmp_path: Path) -> Iterator[HostSandbox]:
    """A sandbox with its sockets in `tmp_path`."""
    arrival = Arrival(os.open(tmp_path, os.O_PATH | os.O_DIRECTORY), -1, os.getuid(), b"")
    yield (sandbox := HostSandbox("test", SandboxSpec("local"), "", arrival=arrival))
    sandbox.close()


class Inbox:
    """A channel and what it has received."""

    def __init__(self, kind: str, **options: object) -> None:
        self.events: asyncio.Queue[object] = asyncio.Queue()
        self.channel = ZmtpSocket(
            kind, self.events.put_nowait, self.events.put_nowait, lambda: self.events.put_nowait("lost"),
            max_bytes=1 << 20, **options,  # type: ignore[arg-type]
        )  # fmt: skip

    async def next(self) -> object:
        return await asyncio.wait_for(self.events.get(), 60)


async def test_a_dealer_talks_to_libzmqs_router_under_its_own_identity(tmp_path: Path, directory: HostSandbox) -> None:
    with zmq.asyncio.Context() as context, context.socket(zmq.ROUTER) as router:
        router.bind(f"ipc://{tmp_path}/shell")
        inbox = Inbox("DEALER", identity=b"me")
        await inbox.channel.connect(directory, "shell", 60)
        big = os.urandom(300_000)
        inbox.channel.send([b"a", b"", big])
        assert await router.recv_multipart() == [b"me", b"a", b"", big]
        await router.send_multipart([b"me", b"x", big])
        assert await inbox.next() == [b"x", big]
        inbox.channel.close()


async def test_a_subscription_is_heard_by_libzmqs_publisher(tmp_path: Path, directory: HostSandbox) -> None:
    with zmq.asyncio.Context() as context, context.socket(zmq.XPUB) as publisher:
        publisher.bind(f"ipc://{tmp_path}/iopub")
        inbox = Inbox("SUB")
        await inbox.channel.connect(directory, "iopub", 60)
        assert await publisher.recv_multipart() == [b"\x01"]
        await publisher.send_multipart([b"topic", b"text"])
        assert await inbox.next() == [b"topic", b"text"]
        await publisher.send_multipart([b"topic", bytes(2 << 20)])
        oversized = await inbox.next()
        assert isinstance(oversized, zmtp.Oversized)
        assert oversized.frames == [b"topic"]
        publisher.close()
        assert await inbox.next() == "lost"


async def test_a_socket_replaced_by_a_link_is_not_connected_to(tmp_path: Path, directory: HostSandbox) -> None:
    victim = tmp_path / "elsewhere"
    victim.mkdir()
    with zmq.asyncio.Context() as context, context.socket(zmq.ROUTER) as router:
        router.bind(f"ipc://{victim}/shell")
        (tmp_path / "shell").symlink_to(victim / "shell")
        with pytest.raises(SocketError, match="not a socket"):
            await Inbox("DEALER").channel.connect(directory, "shell", 1)


@pytest.mark.parametrize("name", ["../x", "", "a/b", "missing", "a\0b", "\ud800"])
async def test_only_names_in_the_directory_are_opened(directory: HostSandbox, name: str) -> None:
    with pytest.raises(SocketError):
        await Inbox("DEALER").channel.connect(directory, name, 1)


async def test_a_socket_of_another_user_is_refused(tmp_path: Path, directory: HostSandbox) -> None:
    with zmq.asyncio.Context() as context, context.socket(zmq.ROUTER) as router:
        router.bind(f"ipc://{tmp_path}/shell")
        directory.arrival.uid += 1
        with pytest.raises(SocketError, match="user"):
            await directory.open_socket("shell")


async def test_a_fifo_or_a_file_in_a_sockets_place_blocks_nobody(tmp_path: Path, directory: HostSandbox) -> None:
    os.mkfifo(tmp_path / "shell")
    (tmp_path / "control").write_text("")
    assert stat.S_ISFIFO((tmp_path / "shell").stat().st_mode)
    for name in ("shell", "control"):
        with pytest.raises(SocketError, match="not a socket"):
            await Inbox("DEALER").channel.connect(directory, name, 1)


async def test_a_peer_that_says_nothing_is_given_up_in_time(tmp_path: Path, directory: HostSandbox) -> None:
    server = await asyncio.start_unix_server(lambda r, w: None, tmp_path / "mute")
    with pytest.raises(SocketError, match=r"no answer within 0\.2 s"):
        await Inbox("DEALER").channel.connect(directory, "mute", 0.2)
    server.close()


async def test_a_peer_that_talks_nonsense_is_refused(tmp_path: Path, directory: HostSandbox) -> None:
    async def nonsense(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" + uuid.uuid4().bytes * 10)

    server = await asyncio.start_unix_server(nonsense, tmp_path / "http")
    with pytest.raises(SocketError, match="ZMTP"):
        await Inbox("DEALER").channel.connect(directory, "http", 60)
    server.close()
