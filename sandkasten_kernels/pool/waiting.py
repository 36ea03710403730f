"""Claims of kernels: those that wait because no kernel is warm, first come first served, and what they get."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from ..errors import SandkastenError
from ..kernels import Kernel, KernelRecord

__all__ = ["Acquired", "WaitingClaims"]


@dataclass(frozen=True)
class Acquired:
    """A claimed kernel.

    Attributes
    ----------
    source: ``pool`` if the kernel was warm, ``cold`` if the claim waited for its start.
    stored: the kernel's record if the register has it, as one that belongs to a session with the kernel's id.
    """

    kernel: Kernel
    source: Literal["pool", "cold"]
    stored: KernelRecord | None = None


class WaitingClaims:
    """Futures of kernels, by the names of their kernelspecs. The `Ledger` counts what is in here as *waiting*."""

    def __init__(self, names: Iterable[str]) -> None:
        self._futures: dict[str, deque[asyncio.Future[Kernel]]] = {name: deque() for name in names}

    def __iter__(self) -> Iterator[str]:
        """Yield the name of each kernelspec once; claims may be removed meanwhile."""
        return iter(self._futures)

    def count(self, name: str) -> int:
        """Return how many claims wait for a kernelspec."""
        return len(self._futures[name])

    def add(self, name: str) -> asyncio.Future[Kernel]:
        """Return the future of a new claim, which is the last one in its queue."""
        future: asyncio.Future[Kernel] = asyncio.get_running_loop().create_future()
        self._futures[name].append(future)
        return future

    def cancel(self, name: str, future: asyncio.Future[Kernel]) -> bool:
        """Remove a claim that was cancelled; False when it has left the queue with an outcome already."""
        if future not in self._futures[name]:
            return False
        self._futures[name].remove(future)
        return True

    def serve(self, name: str, kernel: Kernel) -> bool:
        """Give a kernel to the oldest claim; False when that was cancelled a moment ago, and the kernel is nobody's."""
        future = self._futures[name].popleft()
        if future.done():
            return False
        future.set_result(kernel)
        return True

    def fail_first(self, name: str, error: SandkastenError) -> None:
        """Raise ``error`` in the oldest claim."""
        _fail(self._futures[name].popleft(), error)

    def fail_last(self, name: str, error: SandkastenError) -> None:
        """Raise ``error`` in the newest claim."""
        _fail(self._futures[name].pop(), error)


def _fail(future: asyncio.Future[Kernel], error: SandkastenError) -> None:
    if not future.done():
        future.set_exception(error)
