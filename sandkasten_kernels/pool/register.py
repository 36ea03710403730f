"""Register: the warm kernels, stored so that a later process of the gateway finds them."""

from __future__ import annotations

import logging
from typing import Protocol

from ..errors import StoreFailed
from ..kernels import Kernel, KernelRecord
from ..store import Store

__all__ = ["NO_REGISTER", "Register", "StoredRegister"]


class Register(Protocol):
    """Knows which kernels are warm."""

    def keep(self, kernel: Kernel) -> None:
        """Remember a warm kernel."""

    def adopted(self, kernel: Kernel) -> None:
        """Note that an earlier process has stored a kernel."""

    def claim(self, kernel: Kernel) -> KernelRecord | None:
        """Give a warm kernel to the session with its id; return the record that is stored, None if none is."""

    def forget(self, kernel: Kernel) -> None:
        """Forget a kernel, warm or claimed, that is about to end; no-op for one that `keep` did not get."""


class _NoRegister:
    def keep(self, kernel: Kernel) -> None:
        pass

    def adopted(self, kernel: Kernel) -> None:
        pass

    def claim(self, kernel: Kernel) -> KernelRecord | None:
        return None

    def forget(self, kernel: Kernel) -> None:
        pass


NO_REGISTER: Register = _NoRegister()


class StoredRegister:
    """A register in the store. It logs a failed write; a later process does not find a kernel that is not stored.

    If the claim of a kernel cannot be stored, the register writes to the kernel's guest that it has an owner, so that a
    later process does not give it to another.
    """

    def __init__(self, store: Store, log: logging.Logger) -> None:
        self._store = store
        self._log = log
        self._kept: dict[str, KernelRecord] = {}

    def keep(self, kernel: Kernel) -> None:
        if kernel.record is None:
            return
        try:
            self._store.connect(kernel.id, kernel.record.as_json())
            self._kept[kernel.id] = kernel.record
        except StoreFailed as error:
            self._log.warning("warm kernel %s cannot be stored: %s", kernel.id, error)

    def adopted(self, kernel: Kernel) -> None:
        if kernel.record is not None:
            self._kept[kernel.id] = kernel.record

    def claim(self, kernel: Kernel) -> KernelRecord | None:
        if (record := self._kept.get(kernel.id)) is None:
            return None
        try:
            self._store.assign(kernel.id, kernel.id)
        except StoreFailed as error:
            self._log.warning("kernel %s is claimed, but still stored as warm: %s", kernel.id, error)
            kernel.mark_owned()
            return None
        return record

    def forget(self, kernel: Kernel) -> None:
        if kernel.id not in self._kept:
            return
        try:
            self._store.disconnect(kernel.id)
            del self._kept[kernel.id]
        except StoreFailed as error:
            self._log.warning("kernel %s ends, but is still stored: %s", kernel.id, error)
            kernel.mark_owned()
