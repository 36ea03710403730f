"""Ledger: the pool's accounting; pure, synchronous, without I/O."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from ..errors import NoCapacity

__all__ = ["Evict", "Ledger", "Start"]

M = TypeVar("M")


@dataclass(frozen=True)
class Start:
    """Start a sandbox of this kind; the ledger counts it from now on."""

    key: str


@dataclass(frozen=True)
class Evict(Generic[M]):
    """Destroy this warm member to make room, and call `Ledger.removed` when that is done."""

    member: M


@dataclass
class _Kind(Generic[M]):
    target: int = 0
    warm: deque[M] = field(default_factory=deque)
    starting: int = 0
    waiting: int = 0
    claimed: int = 0
    hits: int = 0
    misses: int = 0


class Ledger(Generic[M]):
    """Counts sandboxes by kind and state, hands out warm ones, and says what to start.

    Invariants, at every moment:

    - claimed + warm + starting + ending <= ``max_sandboxes``;
    - claimed + waiting <= ``max_sandboxes``: every claim that waits will get a member;
    - a member is warm, or claimed, or neither; it is never handed out twice;
    - claims come first: no member is started for the pool while a claim waits for a place.

    After `retarget` has lowered a limit below the present count, nothing is started until the limit holds again.
    """

    def __init__(self, targets: Mapping[str, int], max_sandboxes: int, max_starting: int) -> None:
        self.max_sandboxes = max_sandboxes
        self.max_starting = max_starting
        self.ending = 0
        self._kinds: dict[str, _Kind[M]] = {key: _Kind(target) for key, target in targets.items()}

    @property
    def total(self) -> int:
        """How many sandboxes there are, in any state."""
        return self.ending + sum(k.claimed + len(k.warm) + k.starting for k in self._kinds.values())

    @property
    def promised(self) -> int:
        """How many sandboxes have an owner or are promised to a claim that waits."""
        return sum(k.claimed + k.waiting for k in self._kinds.values())

    def counts(self, key: str) -> dict[str, int]:
        """Return ``target warm starting claimed hits misses`` of a kind."""
        kind = self._kind(key)
        names = ("target", "starting", "claimed", "hits", "misses")
        return {**{name: getattr(kind, name) for name in names}, "warm": len(kind.warm)}

    def claim(self, key: str) -> M | None:
        """Claim the member that has been warm longest and return it; None if there is none, and a claim waits then.

        Raises `NoCapacity` when every place is promised.
        """
        if self.promised >= self.max_sandboxes:
            raise NoCapacity(
                f"all {self.max_sandboxes} sandboxes are in use (limits.max_sandboxes): end one, or try again later",
                retry_after=5,
            )
        kind = self._kind(key)
        if kind.warm:
            kind.hits += 1
            kind.claimed += 1
            return kind.warm.popleft()
        kind.misses += 1
        kind.waiting += 1
        return None

    def give_up(self, key: str) -> None:
        """Note that a claim no longer waits."""
        self._kind(key).waiting -= 1

    def arrived(self, key: str, member: M) -> bool:
        """Note that a start succeeded. True: the oldest claim that waits gets the member; False: it is warm."""
        kind = self._kind(key)
        kind.starting -= 1
        if kind.waiting:
            kind.waiting -= 1
            kind.claimed += 1
            return True
        kind.warm.append(member)
        return False

    def adopted(self, key: str, member: M) -> None:
        """Note a warm member that an earlier process left."""
        self._kind(key).warm.append(member)

    def adopted_claimed(self, key: str) -> None:
        """Note a claimed member that an earlier process left. There may be more of them than places."""
        self._kind(key).claimed += 1

    def failed(self, key: str) -> bool:
        """Note that a start failed. True: the oldest claim that waits fails with it, and is not counted any more."""
        kind = self._kind(key)
        kind.starting -= 1
        # A claim fails only if no other start is left that could serve it.
        if kind.waiting > kind.starting:
            kind.waiting -= 1
            return True
        return False

    def lost(self, key: str, member: M) -> bool:
        """Note that a member died. True: it was warm and is ending now, so destroy it; False: it was not warm."""
        kind = self._kind(key)
        if member not in kind.warm:
            return False
        kind.warm.remove(member)
        self.ending += 1
        return True

    def release(self, key: str) -> None:
        """Note that a claim ended; its member is ending."""
        self._kind(key).claimed -= 1
        self.ending += 1

    def was_dead(self, key: str) -> None:
        """Note that the member just claimed is dead: the claim was no hit, and the member is ending."""
        self._kind(key).hits -= 1
        self.release(key)

    def removed(self) -> None:
        """Note that a member that was ending is gone."""
        self.ending -= 1

    def retarget(self, targets: Mapping[str, int], max_sandboxes: int, max_starting: int) -> list[M]:
        """Apply new limits; return the surplus warm members, longest warm first, all counted as ending."""
        self.max_sandboxes = max_sandboxes
        self.max_starting = max_starting
        for key, target in targets.items():
            self._kind(key).target = target
        surplus: list[M] = []
        for kind in self._kinds.values():
            while len(kind.warm) > kind.target:
                surplus.append(kind.warm.popleft())
        for kind in self._kinds.values():
            while kind.warm and self.total > max_sandboxes:
                surplus.append(kind.warm.popleft())
        self.ending += len(surplus)
        return surplus

    def drain(self) -> list[M]:
        """Return every warm member, all counted as ending."""
        members = [member for kind in self._kinds.values() for member in kind.warm]
        for kind in self._kinds.values():
            kind.warm.clear()
        self.ending += len(members)
        return members

    def next_action(self, refill: bool) -> Start | Evict[M] | None:
        """Return the next thing to do, already counted, or None. Claims come first; then, if ``refill``, the pool."""
        kinds = self._kinds
        unserved = {key: k.waiting - k.starting for key, k in kinds.items() if k.waiting > k.starting}
        in_start = sum(k.starting for k in kinds.values())
        for key in unserved:
            if in_start < self.max_starting and self.total < self.max_sandboxes:
                kinds[key].starting += 1
                return Start(key)
        free = self.max_sandboxes - self.total
        # Sandboxes that are ending make room by themselves; evict only for the claims beyond that.
        if sum(unserved.values()) > free + self.ending:
            for key, kind in kinds.items():
                if kind.warm and key not in unserved:
                    self.ending += 1
                    return Evict(kind.warm.popleft())
        if refill and not unserved and in_start < self.max_starting and free > 0:
            for key, kind in kinds.items():
                # A start that a waiting claim will take does not refill the pool.
                if len(kind.warm) + kind.starting - kind.waiting < kind.target:
                    kind.starting += 1
                    return Start(key)
        return None

    def _kind(self, key: str) -> _Kind[M]:
        return self._kinds.setdefault(key, _Kind())
