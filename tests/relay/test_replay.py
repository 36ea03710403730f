"""What a client misses while its connection is away is kept within bounds and given to its next connection."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandkasten_kernels.handlers.api.outbox import Outbox
from sandkasten_kernels.protocol.messages import Parts
from sandkasten_kernels.relay import seats as seats_module
from sandkasten_kernels.relay.link import KernelLink
from sandkasten_kernels.relay.replay import MAX_PARENTS, MESSAGE_BYTES, Message, ReplayBuffer, size_of
from sandkasten_kernels.relay.seats import MAX_AWAY, Seats
from tests.support.waiting import eventually

LIMIT = 5000


def message(number: int, size: int = 10, kind: str = "stream", parent: str = "p") -> tuple[str, list[bytes]]:
    """Return a message with a number in it; of kind ``reply`` it is one of the shell channel."""
    header = json.dumps({"msg_type": kind}).encode()
    parts = [header, json.dumps({"msg_id": parent}).encode(), str(number).encode(), b"x" * size]
    return ("shell" if kind == "reply" else "iopub"), parts


def number_of(found: Message) -> int:
    return int(found[1][2])


def words_in(messages: Sequence[Message]) -> dict[str, int]:
    """Return how many messages are said to be lost, by the request that they belonged to."""
    found = {}
    for _, parts in messages:
        if parts[2] == b"{}":
            text = json.loads(parts[3])["text"]
            lost = text.partition("away, ")[2].split()[0]
            found[json.loads(parts[1])["msg_id"]] = 1 if lost == "a" else int(lost)
    return found


@given(
    st.lists(
        st.tuples(
            st.sampled_from(["stream", "status", "reply", "take"]), st.integers(0, 2 * LIMIT), st.sampled_from("abc")
        ),
        max_size=60,
    )
)
def test_what_is_kept_is_bounded_and_taken_once_in_order_and_what_is_lost_is_told(
    steps: list[tuple[str, int, str]],
) -> None:
    replay = ReplayBuffer(LIMIT, LIMIT)
    kept: list[Message] = []
    for number, (kind, size, parent) in enumerate([*steps, ("take", 0, "a")]):
        if kind != "take":
            kept.append(message(number, size, kind, parent))
            replay.keep(kept[-1:])
            continue
        taken = replay.take()
        told = words_in(taken)
        messages = taken[len(told) :]
        numbers = [number_of(found) for found in messages]
        assert numbers == sorted(set(numbers))
        assert all(found in kept for found in messages)
        for vital in (True, False):
            cost = sum(size_of(m[1]) for m in messages if (m[0] == "shell" or b"status" in m[1][0]) is vital)
            assert cost <= LIMIT
        for parent in "abc":
            of = [m for m in kept if json.loads(m[1][1])["msg_id"] == parent]
            assert told.get(parent, 0) == len(of) - len([m for m in messages if m in of])
        kept = []


def test_a_flood_of_output_takes_no_reply_away() -> None:
    replay = ReplayBuffer(LIMIT, LIMIT)
    replay.keep([message(0, kind="reply"), message(1, kind="status")])
    replay.keep(message(number) for number in range(2, 1000))
    taken = replay.take()
    assert words_in(taken) == {"p": 1000 - 2 - (len(taken) - 3)}
    assert [number_of(found) for found in taken[1:3]] == [0, 1]
    assert number_of(taken[-1]) == 999


def test_a_message_larger_than_the_bound_is_lost_alone() -> None:
    replay = ReplayBuffer(LIMIT, LIMIT)
    replay.keep([message(0), message(1, LIMIT), message(2)])
    words, *rest = replay.take()
    assert words_in([words]) == {"p": 1}
    assert [number_of(found) for found in rest] == [0, 2]


def test_the_losses_of_many_requests_are_told_in_few_words() -> None:
    replay = ReplayBuffer(MESSAGE_BYTES, LIMIT)
    replay.keep(message(number, parent=str(number)) for number in range(1000))
    told = words_in(replay.take())
    assert len(told) <= MAX_PARENTS
    assert sum(told.values()) == 1000


@given(st.lists(st.integers(1, 50), max_size=30), st.data())
def test_an_outbox_returns_exactly_what_has_not_arrived_as_a_whole(sizes: list[int], data: st.DataObject) -> None:
    outbox = Outbox()
    messages = [message(number, size) for number, size in enumerate(sizes)]
    for each in messages:
        outbox.put(each)
    written = data.draw(st.integers(0, len(messages)))
    ends = []
    for _ in range(written):
        first = outbox.first()
        assert first
        ends.append((ends[-1] if ends else 100) + len(first[1][3]) + 2)
        assert outbox.sent(ends[-1], 0.0) == size_of(first[1])
    arrived = data.draw(st.integers(0, 1000))
    outbox.arrived(data.draw(st.integers(0, arrived)))
    assert outbox.undelivered(arrived, math.inf) == messages[len([end for end in ends if end <= arrived]) :]
    assert outbox.first() is None
    assert (outbox.waiting_bytes, outbox.sent_bytes) == (0, 0)


def test_the_ends_of_cells_can_be_had_again_for_a_while_and_come_once() -> None:
    outbox = Outbox()
    idle = message(2, kind="status")
    idle[1][3] = b'{"execution_state": "idle"}'
    sent = [message(0, kind="reply"), message(1), idle, message(3, kind="reply")]
    for number, each in enumerate(sent):
        outbox.put(each)
        outbox.sent(number, float(number))
    outbox.put(message(4))
    assert outbox.undelivered(2, 1.0) == [idle, sent[3], message(4)]
    assert outbox.undelivered(2, 0.0) == []


class Taker:
    """A connection that remembers what it is given, and has delivered the first ``delivered`` of it."""

    def __init__(self, delivered: int = 1000) -> None:
        self.messages: list[Message] = []
        self.ended: str | None = None
        self._delivered = delivered

    def deliver(self, channel: str, parts: Parts) -> None:
        self.messages.append((channel, parts))

    def end(self, reason: str) -> None:
        self.ended = reason

    def hand_over(self) -> Sequence[Message]:
        return self.messages[self._delivered :]


def seated() -> tuple[Seats, KernelLink, Any]:
    """Return the seats of a link, the link, and a function that lets its kernel say something."""
    link = KernelLink(lambda: None, logging.getLogger("test"))

    def say(*numbers: int) -> None:
        for number in numbers:
            for client in tuple(link.clients):
                client.deliver(*message(number))

    return Seats(link), link, say


def numbers(taker: Taker) -> list[int]:
    return [number_of(found) for found in taker.messages]


async def test_a_connection_that_returns_gets_what_it_missed_behind_what_was_not_delivered() -> None:
    seats, link, say = seated()
    first, other, second = Taker(), Taker(), Taker()
    seat = seats.take(first, "me")
    seats.take(other, "other")
    say(1, 2, 3)
    seats.leave(seat, first, first.messages[2:])
    assert link.connections == 1
    say(4, 5)
    assert seats.take(second, "me") is seat
    say(6)
    assert numbers(second) == [3, 4, 5, 6]
    assert numbers(other) == [1, 2, 3, 4, 5, 6]
    seats.leave(seat, first, [message(9)])
    assert link.connections == 2
    seat.end("over")
    assert (first.ended, second.ended) == (None, "over")


async def test_a_newer_connection_takes_over_from_the_older() -> None:
    seats, link, say = seated()
    first, second = Taker(delivered=1), Taker()
    seats.take(first, "me")
    say(1, 2)
    seats.take(second, "me")
    say(3)
    assert (numbers(first), numbers(second)) == ([1, 2], [2, 3])
    assert link.connections == len(link.clients) == 1


async def test_a_connection_without_a_name_leaves_nothing_behind() -> None:
    seats, link, say = seated()
    first, second = Taker(), Taker()
    seats.leave(seats.take(first, ""), first, ())
    say(1)
    seats.take(second, "")
    assert numbers(second) == []
    assert len(link.clients) == 1


async def test_a_client_that_does_not_return_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(seats_module, "AWAY_SECONDS", 0.01)
    seats, link, say = seated()
    first, second = Taker(), Taker()
    seats.leave(seats.take(first, "me"), first, ())
    say(1)
    await eventually(lambda: not link.clients)
    seats.take(second, "me")
    assert numbers(second) == []


async def test_of_many_that_are_away_the_first_are_forgotten() -> None:
    seats, link, say = seated()
    for number in range(MAX_AWAY + 3):
        taker = Taker()
        seats.leave(seats.take(taker, str(number)), taker, ())
    say(1)
    assert len(link.clients) == MAX_AWAY
    first, last = Taker(), Taker()
    seats.take(first, "0")
    seats.take(last, str(MAX_AWAY))
    assert (numbers(first), numbers(last)) == ([], [1])
    for client in tuple(link.clients):
        client.end("over")  # type: ignore[attr-defined]
