"""Register: how the kernels that nobody owns yet are reached, kept for a later process of the gateway."""

from __future__ import annotations

import logging
from typing import Protocol

from ..errors import StoreFailed
from ..kernels.kernel import Kernel
from ..store import Store

__all__ = ["NO_REGISTER", "Register", "StoredRegister"]


class Register(Protocol):
    """Knows which kernels are warm."""

    def keep(self, kernel: Kernel) -> None:
        """A kernel is warm."""

    def forget(self, kernel: Kernel) -> None:
        """A kernel is warm no more: it is claimed, or ended; no-op for one that was not."""


class _NoRegister:
    def keep(self, kernel: Kernel) -> None:
        pass

    def forget(self, kernel: Kernel) -> None:
        pass


NO_REGISTER: Register = _NoRegister()


class StoredRegister:
    """A register in the store. What cannot be written there is logged: such a kernel is not found again.

    One that cannot be forgotten is told that it has an owner, so that a later process does not give it to another.
    """

    def __init__(self, store: Store, log: logging.Logger) -> None:
        self._store = store
        self._log = log
        self._kept: set[str] = set()

    def keep(self, kernel: Kernel) -> None:
        if kernel.record is None:
            return
        try:
            self._store.connect(kernel.id, kernel.record.as_json())
            self._kept.add(kernel.id)
        except StoreFailed as error:
            self._log.warning("a warm kernel is not stored: %s", error)

    def forget(self, kernel: Kernel) -> None:
        if kernel.id not in self._kept:
            return
        try:
            self._store.disconnect(kernel.id)
            self._kept.discard(kernel.id)
        except StoreFailed as error:
            self._log.warning("a kernel that is not warm any more is still stored as warm: %s", error)
            kernel.tell_owned()
