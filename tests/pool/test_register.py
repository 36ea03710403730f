"""The store keeps which kernels are warm. If a claim cannot be stored, the guest remembers the owner."""

from __future__ import annotations

import logging
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from sandkasten_kernels.pool.register import StoredRegister
from sandkasten_kernels.store import Store

CONNECTION = {"key": "k", "sandbox": {"id": "s"}}


class Warm:
    """A warm kernel that notes whether its guest remembers an owner."""

    id = "a"
    record = SimpleNamespace(as_json=lambda: CONNECTION)

    def __init__(self) -> None:
        self.owned = False

    def mark_owned(self) -> None:
        self.owned = True


@pytest.mark.parametrize("claimed", [False, True])
def test_a_warm_kernel_is_kept_until_it_is_claimed(tmp_path: Path, claimed: bool) -> None:
    store = Store(tmp_path / "store")
    register, kernel = StoredRegister(store, logging.getLogger("test")), Warm()
    told: Any = kernel
    register.keep(told)
    assert store.connections() == {"a": CONNECTION}
    if claimed:
        assert register.claim(told) is kernel.record
    else:
        register.forget(told)
        register.forget(told)
        assert register.claim(told) is None
    assert store.connections() == {}  # of a claim without a session, too: a later process gives it to nobody
    assert not kernel.owned


@pytest.mark.parametrize("claimed", [False, True])
def test_a_kernel_that_cannot_be_forgotten_is_told_that_it_has_an_owner(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, claimed: bool
) -> None:
    store = Store(tmp_path / "store")
    register, kernel = StoredRegister(store, logging.getLogger("test")), Warm()
    told: Any = kernel
    register.keep(told)
    store.close()
    if claimed:
        assert register.claim(told) is None
    else:
        register.forget(told)
    assert kernel.owned
    assert "still stored" in caplog.text
