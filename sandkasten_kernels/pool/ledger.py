"""The pool's accounting: pure, synchronous, without I/O."""

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
    """Start a sandbox of this kind; it counts from now on."""

    key: str


@dataclass(frozen=True)
class Evict(Generic[M]):
    """Destroy this warm member to make room; tell `Ledger.removed` when that is done."""

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
    - claimed + waiting <= ``max_sandboxes``: who is told to wait will be served;
    - a member is warm, or claimed, or neither; never twice;
    - claims come first: no member is started for the pool while a claim waits for a place.

    Where `retarget` has lowered a bound below what there is, nothing is started until it holds again.
    """

    def __init__(self, targets: Mapping[str, int], max_sandboxes: int, max_starting: int) -> None:
        self.max_sandboxes = max_sandboxes
        self.max_starting = max_starting
        self.ending = 0
        self._kinds: dict[str, _Kind[M]] = {key: _Kind(target) for key, target in targets.items()}

    @property
    def total(self) -> int:
        """How many sandboxes there are, in whatever state."""
        return self.ending + sum(k.claimed + len(k.warm) + k.starting for k in self._kinds.values())

    @property
    def promised(self) -> int:
        """How many sandboxes have an owner or were promised to one."""
        return sum(k.claimed + k.waiting for k in self._kinds.values())

    def counts(self, key: str) -> dict[str, int]:
        """Return ``target warm starting claimed hits misses`` of a kind."""
        kind = self._kind(key)
        names = ("target", "starting", "claimed", "hits", "misses")
        return {**{name: getattr(kind, name) for name in names}, "warm": len(kind.warm)}

    def claim(self, key: str) -> M | None:
        """Return the warm member that has waited longest, now claimed; or None, and then a claim waits.

        Raises `NoCapacity` when every place is promised already.
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
        """A claim waits no longer."""
        self._kind(key).waiting -= 1

    def arrived(self, key: str, member: M) -> bool:
        """A start succeeded. True: it is claimed by the claim that waits longest; False: it is warm."""
        kind = self._kind(key)
        kind.starting -= 1
        if kind.waiting:
            kind.waiting -= 1
            kind.claimed += 1
            return True
        kind.warm.append(member)
        return False

    def adopted(self, key: str, member: M) -> None:
        """A member that an earlier process left is warm."""
        self._kind(key).warm.append(member)

    def adopted_claimed(self, key: str) -> None:
        """A member that an earlier process left is claimed. There may be more of those than places."""
        self._kind(key).claimed += 1

    def failed(self, key: str) -> bool:
        """A start failed. True: a claim that waits for it has to be told, and waits no longer."""
        kind = self._kind(key)
        kind.starting -= 1
        if kind.waiting > kind.starting:
            kind.waiting -= 1
            return True
        return False

    def lost(self, key: str, member: M) -> bool:
        """A warm member died. True: it was warm and is ending now, so destroy it; False: it is somebody's."""
        kind = self._kind(key)
        if member not in kind.warm:
            return False
        kind.warm.remove(member)
        self.ending += 1
        return True

    def release(self, key: str) -> None:
        """A claimed member is given back, and is ending."""
        self._kind(key).claimed -= 1
        self.ending += 1

    def was_dead(self, key: str) -> None:
        """The member just claimed turned out to be dead: that was no hit, and it is ending."""
        self._kind(key).hits -= 1
        self.release(key)

    def removed(self) -> None:
        """A member that was ending is gone."""
        self.ending -= 1

    def retarget(self, targets: Mapping[str, int], max_sandboxes: int, max_starting: int) -> list[M]:
        """Take over new bounds; return the warm members that are too many now, longest warm first, all ending."""
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
        """Return every warm member, all ending now."""
        members = [member for kind in self._kinds.values() for member in kind.warm]
        for kind in self._kinds.values():
            kind.warm.clear()
        self.ending += len(members)
        return members

    def next_action(self, refill: bool) -> Start | Evict[M] | None:
        """Return the one thing to do now, already counted, or None. Claims first; then, if ``refill``, the pool."""
        kinds = self._kinds
        unserved = {key: k.waiting - k.starting for key, k in kinds.items() if k.waiting > k.starting}
        in_start = sum(k.starting for k in kinds.values())
        for key in unserved:
            if in_start < self.max_starting and self.total < self.max_sandboxes:
                kinds[key].starting += 1
                return Start(key)
        free = self.max_sandboxes - self.total
        if sum(unserved.values()) > free + self.ending:
            for key, kind in kinds.items():
                if kind.warm and key not in unserved:
                    self.ending += 1
                    return Evict(kind.warm.popleft())
        if refill and not unserved and in_start < self.max_starting and free > 0:
            for key, kind in kinds.items():
                if len(kind.warm) + kind.starting - kind.waiting < kind.target:
                    kind.starting += 1
                    return Start(key)
        return None

    def _kind(self, key: str) -> _Kind[M]:
        return self._kinds.setdefault(key, _Kind())
