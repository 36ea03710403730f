"""Replies find their client, in order, under any order of events."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from sandkasten_kernels.relay.requests import MAX_HELD_BYTES, MAX_OPEN, MAX_SESSIONS, OpenRequests


def header(msg_id: str, kind: str = "execute_request", session: str = "s") -> bytes:
    return json.dumps({"msg_id": msg_id, "msg_type": kind, "session": session}).encode()


def reply(parent: bytes, text: str = "reply") -> list[bytes]:
    return [b"{}", parent, b"{}", text.encode()]


def test_a_reply_waits_for_the_idle_of_its_request_and_is_given_out_once() -> None:
    requests: OpenRequests[str] = OpenRequests()
    requests.add("me", header("a"))
    now, held = requests.reply(reply(header("a")))
    assert now is None
    assert held is not None
    delivery = requests.idle(header("a"))
    assert delivery is not None
    assert (delivery.client, delivery.parts[3]) == ("me", b"reply")
    assert requests.release(held) is None
    assert not list(requests.drain())


def test_a_reply_that_comes_after_idle_goes_out_at_once() -> None:
    requests: OpenRequests[str] = OpenRequests()
    requests.add("me", header("a"))
    assert requests.idle(header("a")) is None
    now, held = requests.reply(reply(header("a")))
    assert now is not None
    assert held is None


def test_another_clients_message_with_the_same_id_takes_nothing_over() -> None:
    requests: OpenRequests[str] = OpenRequests()
    requests.add("victim", header("a"))
    requests.add("thief", header("a", session="t"))
    requests.idle(header("a"))
    now, _ = requests.reply(reply(header("a")))
    assert now is not None
    assert now.client == "victim"


@given(
    st.lists(
        st.tuples(st.sampled_from(["add", "reply", "idle"]), st.integers(0, 5), st.sampled_from("xy")), max_size=60
    )
)
def test_every_execution_is_answered_at_most_once_and_never_before_idle(events: list[tuple[str, int, str]]) -> None:
    requests: OpenRequests[str] = OpenRequests()
    owner: dict[int, str] = {}
    idle: set[int] = set()
    replied: set[int] = set()
    for event, number, client in events:
        parent = header(str(number), session="none")
        if event == "add" and number not in owner:
            owner[number] = client
            requests.add(client, header(str(number), session=client))
        elif event == "idle":
            delivery = requests.idle(parent)
            assert (delivery is not None) == (number in replied and number in owner and number not in idle)
            if number in owner:
                idle.add(number)
        elif event == "reply" and number in owner and number not in replied:
            now, held = requests.reply(reply(parent))
            replied.add(number)
            assert (now is not None) == (number in idle)
            assert (held is not None) == (number not in idle)
            if now:
                assert now.client == owner[number]
    assert {int(request.msg_id) for request in requests.drain()} == owner.keys() - (idle & replied)


def test_replies_that_wait_are_bounded_together_and_of_many_to_one_request_the_last_waits() -> None:
    requests: OpenRequests[str] = OpenRequests()
    large = "x" * (MAX_HELD_BYTES // 4)
    for name in "abcd":
        requests.add("me", header(name))
    answers = [requests.reply(reply(header(name), large)) for name in "aaaaabcd"]
    assert [held is not None for _, held in answers] == [True, *[False] * 4, True, True, False]
    assert [now is not None for now, _ in answers] == [False] * 7 + [True]
    assert all(requests.idle(header(name)) for name in "abc")
    assert requests.reply(reply(header("d"), large))[1] is not None


def test_memory_is_bounded_and_an_execution_is_remembered_longest() -> None:
    requests: OpenRequests[str] = OpenRequests()
    requests.add("me", header("cell"))
    for number in range(MAX_OPEN * 2):
        requests.add("me", header(str(number), "complete_request", session=str(number)))
    open_ones = list(requests.drain())
    assert len(open_ones) == MAX_OPEN
    assert open_ones[0].msg_id == "cell"
    assert len(requests._sessions) == MAX_SESSIONS
