"""Both framings: round trips, tolerance on the way in, refusal of what cannot be read."""

from __future__ import annotations

import contextlib
import itertools
import json
import struct
import unittest.mock
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandkasten_kernels.protocol import frames as relay
from sandkasten_kernels.protocol.frames import (
    CHANNELS,
    MalformedFrame,
    legacy_decode,
    legacy_encode,
    split_stream,
    v1_decode,
    v1_encode,
)

channels = st.sampled_from(sorted(CHANNELS))
texts = st.text(max_size=20)  # lone surrogates too
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=10,
)
objects = st.dictionaries(texts, values, max_size=4)
buffers = st.lists(st.binary(max_size=100), max_size=4)


@given(channels, st.lists(st.binary(max_size=200), min_size=4, max_size=8))
def test_v1_gives_back_what_was_encoded(channel: str, parts: list[bytes]) -> None:
    assert v1_decode(v1_encode(channel, parts)) == (channel, parts)


def test_v1_has_the_layout_of_the_contract() -> None:
    frame = v1_encode("shell", [b"{}", b"{}", b"{}", b"{1}", b"buf"])
    count = struct.unpack_from("<Q", frame)[0]
    offsets = struct.unpack_from(f"<{count}Q", frame, 8)
    assert offsets[0] == 8 * (count + 1)
    assert offsets[-1] == len(frame)
    assert [frame[a:b] for a, b in itertools.pairwise(offsets)] == [
        b"shell", b"{}", b"{}", b"{}", b"{1}", b"buf",
    ]  # fmt: skip


@given(channels, texts, texts, objects, objects, objects, buffers)
def test_legacy_gives_back_what_was_encoded(
    channel: str, msg_id: str, msg_type: str, parent: Any, metadata: Any, content: Any, binary: list[bytes]
) -> None:
    header = {"msg_id": msg_id, "msg_type": msg_type, "version": "5.0"}
    parts = [json.dumps(part).encode() for part in (header, parent, metadata, content)] + binary
    frame = legacy_encode(channel, parts)
    assert isinstance(frame, bytes if binary else str)
    assert legacy_decode(frame) == (channel, parts)


@given(channels, objects, objects, objects, buffers)
def test_a_message_is_the_same_in_both_framings(
    channel: str, parent: Any, metadata: Any, content: Any, binary: list[bytes]
) -> None:
    header = {"msg_id": "a", "msg_type": "b", "version": "5.3"}
    parts = [json.dumps(part).encode() for part in (header, parent, metadata, content)] + binary
    assert v1_decode(v1_encode(channel, parts)) == legacy_decode(legacy_encode(channel, parts))


def test_a_legacy_text_frame_is_one_json_object_with_every_field() -> None:
    header = {"msg_id": 'a"b', "msg_type": "status"}
    frame = legacy_encode("iopub", [json.dumps(header).encode(), b"{}", b"{}", '{"ä": "\u2028"}'.encode()])
    assert json.loads(frame) == {
        "header": header, "msg_id": 'a"b', "msg_type": "status", "parent_header": {}, "metadata": {},
        "content": {"ä": "\u2028"}, "buffers": [], "channel": "iopub",
    }  # fmt: skip


@pytest.mark.parametrize("part", [b"", b"[]", b"null", b'"x"', b"}{", b"\xff"])
def test_a_part_that_is_no_object_cannot_break_the_frame(part: bytes) -> None:
    message = json.loads(legacy_encode("iopub", [part, part, part, part]))
    assert message["content"] == {}
    assert message["channel"] == "iopub"


@pytest.mark.parametrize(
    ("message", "channel"),
    [
        ({}, "shell"),
        ({"channel": None, "buffers": {}}, "shell"),
        ({"channel": "control", "content": None}, "control"),
        ({"parent_header": {}, "metadata": {}, "buffers": []}, "shell"),
    ],
)
def test_what_real_clients_leave_out_is_filled_in(message: dict[str, Any], channel: str) -> None:
    header = {"msg_type": "kernel_info_request", "date": 1.5, "version": "5.0"}
    found, parts = legacy_decode(json.dumps({"header": header, **message}))
    assert found == channel
    assert json.loads(parts[0])["msg_id"]
    assert json.loads(parts[0])["version"] == "5.0"
    assert parts[1:] == [b"{}", b"{}", b"{}"]


def test_a_header_without_a_version_is_given_the_current_one() -> None:
    assert json.loads(legacy_decode('{"header": {"msg_type": "x"}}')[1][0])["version"] == "5.3"


@pytest.mark.parametrize(
    "frame",
    ['{"header": {"msg_type": "x"}, "channel": []}', '{"header": {"msg_type": "x"}, "channel": "iopub"}',
     json.dumps({"header": {"msg_type": "x" * 70_000}}), "", "[]", "nonsense", "{}",
     '{"header": 1}', '{"header": {}}', '{"header": {"msg_type": "x"}, "channel": "hb"}',
     b"", b"\0" * 8, b"\xff" * 40, "[" * 100_000],
)  # fmt: skip
def test_a_frame_that_cannot_be_read_is_refused_in_words(frame: str | bytes) -> None:
    with pytest.raises(MalformedFrame, match=r"\w"):
        legacy_decode(frame)


@given(st.binary(max_size=400))
def test_noise_is_refused_by_both_framings(noise: bytes) -> None:
    for decode in (v1_decode, legacy_decode):
        with contextlib.suppress(MalformedFrame):
            decode(noise)


@given(st.lists(st.integers(min_value=0, max_value=2**64 - 1), max_size=10), st.binary(max_size=200))
def test_forged_offsets_never_read_beyond_the_frame(offsets: list[int], body: bytes) -> None:
    frame = struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets) + body
    try:
        _, parts = v1_decode(frame)
    except MalformedFrame:
        return
    assert sum(map(len, parts)) <= len(frame)


@given(st.text(st.characters(min_codepoint=1), max_size=50), st.integers(min_value=1, max_value=40_000))
def test_the_pieces_of_a_stream_are_small_and_make_up_the_whole(text: str, times: int) -> None:
    content = {"name": "stdout", "text": text * times}
    parts = [b"{1}", b"{2}", b"{3}", json.dumps(content).encode()]
    pieces = list(split_stream(parts))
    texts = [json.loads(piece[3])["text"] for piece in pieces]
    assert "".join(texts) == content["text"]
    assert all(piece[:2] == parts[:2] for piece in pieces)
    assert {json.loads(piece[3])["name"] for piece in pieces} == {"stdout"}
    if len(pieces) > 1:
        assert max(len(piece.encode("utf-8", "surrogatepass")) for piece in texts) <= 512 * 1024


@given(
    st.text(st.sampled_from('\\"n/u\n\u00e9\u20ac\U0001f600\ud83d\ude00\x00'), min_size=20, max_size=200),
    st.booleans(),
    st.integers(min_value=20, max_value=40),
)
def test_wherever_a_stream_is_cut_no_escape_and_no_character_is_torn(text: str, escaped: bool, limit: int) -> None:
    try:
        content = json.dumps({"name": "stderr", "text": text}, ensure_ascii=escaped).encode()
    except UnicodeEncodeError:
        content = json.dumps({"name": "stderr", "text": text}).encode()
    text = json.loads(content)["text"]  # two surrogates that make a pair are one character now
    with unittest.mock.patch.object(relay, "MAX_STREAM_BYTES", limit):
        pieces = [json.loads(piece[3]) for piece in split_stream([b"{}", b"{}", b"{}", content])]
    assert "".join(piece["text"] for piece in pieces) == text
    assert {piece["name"] for piece in pieces} == {"stderr"}


def test_what_is_no_text_in_a_stream_is_told_and_ends_it() -> None:
    good = b'{"name": "stdout", "text": "' + b"y" * 600_000
    texts = [json.loads(piece[3])["text"] for piece in split_stream([b"{}", b"{}", b"{}", good + b'\\x more"}'])]
    assert texts[-1] == "What was printed behind this cannot be read as text.\n"
    continued = [b"{}", b"{}", b"{}", good + b"\x80" * 2_000_000 + b'"}']
    texts = [json.loads(piece[3].decode(errors="replace"))["text"] for piece in split_stream(continued)]
    assert sum(map(len, texts)) == 2_600_000


def test_what_else_a_large_stream_carries_is_not_multiplied() -> None:
    content = {"more": ["x" * 3_000_000], "text": "y" * 2_000_000, "name": "stderr"}
    parts = [b"{}", b"{}", b"{}", json.dumps(content).encode()]
    assert list(split_stream(parts)) == [parts]
    content = {"name": "stderr", "text": "y" * 2_000_000, "more": ["x" * 3_000_000]}
    parts[2:] = [json.dumps({"m": "z" * 1000}).encode(), json.dumps(content).encode()]
    pieces = list(split_stream(parts))
    assert sum(len(b"".join(piece)) for piece in pieces) < 2_010_000
    assert {json.loads(piece[3])["name"] for piece in pieces} == {"stderr"}
