"""The pool's accounting under any order of events."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from sandkasten_kernels.errors import NoCapacity
from sandkasten_kernels.pool.ledger import Evict, Ledger, Start

MAX, MAX_STARTING = 5, 2
KINDS = ("a", "b", "c")
kinds = st.sampled_from(KINDS)


class Accounting(RuleBasedStateMachine):
    """Plays the pool: whatever happens, in whatever order, the limits hold and nothing is handed out twice."""

    def __init__(self) -> None:
        super().__init__()
        self.ledger: Ledger[int] = Ledger({"a": 2, "b": 1}, MAX, MAX_STARTING)
        self.number = 0
        self.starting: Counter[str] = Counter()
        self.waiting: Counter[str] = Counter()
        self.warm: dict[int, str] = {}
        self.claimed: dict[int, str] = {}
        self.ending = 0
        self.max, self.max_starting = MAX, MAX_STARTING
        self.total = self.promised = 0

    @rule(kind=kinds)
    def claim(self, kind: str) -> None:
        promised = len(self.claimed) + self.waiting.total()
        try:
            member = self.ledger.claim(kind)
        except NoCapacity:
            assert promised >= self.max
            return
        assert promised < self.max
        if member is None:
            assert kind not in self.warm.values()
            self.waiting[kind] += 1
        else:
            assert self.warm.pop(member) == kind
            self.claimed[member] = kind

    @rule(refill=st.booleans())
    def act(self, refill: bool) -> None:
        while action := self.ledger.next_action(refill):
            if isinstance(action, Start):
                assert refill or self.waiting[action.key] > self.starting[action.key]
                assert self.starting.total() < self.max_starting
                self.starting[action.key] += 1
            elif isinstance(action, Evict):
                del self.warm[action.member]
                self.ending += 1

    @precondition(lambda self: self.starting.total())
    @rule(data=st.data(), succeeds=st.booleans())
    def start_ends(self, data: st.DataObject, succeeds: bool) -> None:
        kind = data.draw(st.sampled_from(sorted(self.starting.elements())))
        self.starting[kind] -= 1
        if not succeeds:
            told = self.ledger.failed(kind)
            assert told == (self.waiting[kind] > self.starting[kind])
            self.waiting[kind] -= told
            return
        self.number += 1
        handed = self.ledger.arrived(kind, self.number)
        assert handed == bool(self.waiting[kind])
        self.waiting[kind] -= handed
        (self.claimed if handed else self.warm)[self.number] = kind

    @precondition(lambda self: self.waiting.total())
    @rule(data=st.data())
    def client_goes_away(self, data: st.DataObject) -> None:
        kind = data.draw(st.sampled_from(sorted(self.waiting.elements())))
        self.waiting[kind] -= 1
        self.ledger.give_up(kind)

    @precondition(lambda self: self.claimed)
    @rule(data=st.data())
    def session_ends(self, data: st.DataObject) -> None:
        member = data.draw(st.sampled_from(sorted(self.claimed)))
        self.ledger.release(self.claimed.pop(member))
        self.ending += 1

    @precondition(lambda self: self.warm or self.claimed)
    @rule(data=st.data())
    def sandbox_dies(self, data: st.DataObject) -> None:
        member = data.draw(st.sampled_from(sorted({**self.warm, **self.claimed})))
        kind = {**self.warm, **self.claimed}[member]
        assert self.ledger.lost(kind, member) == (member in self.warm)
        if self.warm.pop(member, None):
            self.ending += 1

    @precondition(lambda self: self.ending)
    @rule()
    def removal_ends(self) -> None:
        self.ending -= 1
        self.ledger.removed()

    @rule(
        wanted=st.fixed_dictionaries(dict.fromkeys(KINDS, st.integers(0, 3))),
        most=st.integers(1, MAX + 2),
        at_a_time=st.integers(1, MAX_STARTING),
    )
    def operator_changes_the_bounds(self, wanted: dict[str, int], most: int, at_a_time: int) -> None:
        for member in self.ledger.retarget(wanted, most, at_a_time):
            del self.warm[member]
            self.ending += 1
        self.max, self.max_starting = most, at_a_time
        warm = Counter(self.warm.values())
        assert all(warm[kind] <= target for kind, target in wanted.items())
        assert not self.warm or self.ledger.total - self.ending <= most
        while self.waiting.total() and self.ledger.promised > most:  # as the pool does
            kind = next(self.waiting.elements())
            self.waiting[kind] -= 1
            self.ledger.give_up(kind)
        self.total, self.promised = self.ledger.total, self.ledger.promised

    @invariant()
    def limits_hold(self) -> None:
        """What is above a bound that was lowered becomes fewer, never more."""
        self.total, self.promised = (
            min(self.total, self.ledger.total),
            min(self.promised, self.ledger.promised),
        )
        assert self.ledger.total == len(self.warm) + len(self.claimed) + self.starting.total() + self.ending
        assert self.ledger.total <= max(self.max, self.total)
        assert self.ledger.promised == len(self.claimed) + self.waiting.total() <= max(self.max, self.promised)

    def teardown(self) -> None:
        """Whoever waits is served in the end, and then the pool is as full as it should and can be."""
        for _ in range(100):
            self.act(refill=True)
            while self.ending:
                self.removal_ends()
            for kind in list(self.starting.elements()):
                self.starting[kind] -= 1
                self.number += 1
                handed = self.ledger.arrived(kind, self.number)
                self.waiting[kind] -= handed
                (self.claimed if handed else self.warm)[self.number] = kind
        assert not self.waiting.total()
        missing = sum(max(0, self.ledger.counts(kind)["target"] - self.ledger.counts(kind)["warm"]) for kind in KINDS)
        assert not missing or self.ledger.total >= self.max


Accounting.TestCase.settings = settings(max_examples=200, stateful_step_count=40, deadline=None)
TestAccounting = Accounting.TestCase


def test_the_refusal_names_the_limit_and_the_way_out() -> None:
    ledger: Ledger[int] = Ledger({}, 1, 1)
    assert ledger.claim("a") is None
    with pytest.raises(NoCapacity, match=r"all 1 sandboxes are in use \(limits\.max_sandboxes\): end one") as refusal:
        ledger.claim("a")
    assert refusal.value.retry_after


def test_a_claim_takes_the_place_of_a_warm_one_of_another_image() -> None:
    ledger: Ledger[str] = Ledger({"a": 1}, 1, 1)
    assert ledger.next_action(refill=True) == Start("a")
    assert not ledger.arrived("a", "warm")
    assert ledger.claim("b") is None
    assert ledger.next_action(refill=False) == Evict("warm")
    assert ledger.next_action(refill=False) is None
    ledger.removed()
    assert ledger.next_action(refill=False) == Start("b")
