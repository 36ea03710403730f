"""Which kernels are warm is kept in the store; one that cannot be forgotten there is known by its guest to be owned."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sandkasten_kernels.pool.register import StoredRegister
from sandkasten_kernels.store import Store


class Warm:
    """A warm kernel that notes what it is told."""

    id = "a"
    record = SimpleNamespace(as_json=lambda: {"key": "k"})

    def __init__(self) -> None:
        self.owned = False

    def tell_owned(self) -> None:
        self.owned = True


def test_a_warm_kernel_is_kept_until_it_is_claimed(tmp_path: Path) -> None:
    store = Store(tmp_path / "store")
    register, kernel = StoredRegister(store, logging.getLogger("test")), Warm()
    told: Any = kernel
    register.keep(told)
    assert store.connections() == {"a": {"key": "k"}}
    register.forget(told)
    register.forget(told)
    assert store.connections() == {}
    assert not kernel.owned


def test_a_kernel_that_cannot_be_forgotten_is_told_that_it_has_an_owner(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = Store(tmp_path / "store")
    register, kernel = StoredRegister(store, logging.getLogger("test")), Warm()
    told: Any = kernel
    register.keep(told)
    store.close()
    register.forget(told)
    assert kernel.owned
    assert "still stored as warm" in caplog.text
