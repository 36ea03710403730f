"""Callbacks: a list of listeners. Every ``on_x(callback)`` of the gateway appends to one."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, ParamSpec

__all__ = ["Callbacks"]

P = ParamSpec("P")


class Callbacks(Generic[P]):
    """Calls each of its callbacks, in the order in which they were added; synchronous."""

    def __init__(self) -> None:
        self._callbacks: list[Callable[P, object]] = []

    def add(self, callback: Callable[P, object]) -> None:
        """Call ``callback`` too from now on, once for each time that it was added."""
        self._callbacks.append(callback)

    def clear(self) -> None:
        """Remove every callback."""
        self._callbacks.clear()

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call every callback that is in the list at this instant."""
        for callback in tuple(self._callbacks):
            callback(*args, **kwargs)

    def call_once(self, *args: P.args, **kwargs: P.kwargs) -> None:
        """Call every callback and remove it first, so that none is called for a second event."""
        callbacks, self._callbacks = self._callbacks, []
        for callback in callbacks:
            callback(*args, **kwargs)
