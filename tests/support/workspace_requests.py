"""Named workspaces, as the tests ask for them."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.kernel_client import Api
from tests.support.waiting import eventually

WRONG_NAMES = ["../../etc", "/etc", "Upper", "a" * 65, "a", "-ab", "ab-", "a/b", "..", ".trash-00", "ab\n", "é" * 4]
UID = 12345


async def tidy(api: Api) -> None:
    """End every session and delete every workspace."""
    for session in await api.get("/v1/sessions"):
        await api.request("DELETE", f"/v1/sessions/{session['id']}")
    for workspace in await workspaces(api):
        response = await api.request("DELETE", f"/v1/workspaces/{workspace}")
        assert response.code == 200, response.body


async def workspaces(api: Api) -> dict[str, dict[str, Any]]:
    """Return what is known of each workspace by its name."""
    return {workspace["id"]: workspace for workspace in (await api.get("/v1/workspaces"))["workspaces"]}


async def end(api: Api, session: dict[str, Any]) -> None:
    """End a session."""
    assert (await api.request("DELETE", f"/v1/sessions/{session['id']}")).code == 200


async def warm(api: Api) -> None:
    """Return when the pool has a warm sandbox."""
    await eventually(api.pool, lambda pool: pool["warm"])


@contextlib.contextmanager
def foreign_folder() -> Iterator[Path]:
    """A directory of another user's, below one that it may enter."""
    with tempfile.TemporaryDirectory(prefix="sk-") as folder:
        os.chown(folder, UID, UID)
        yield Path(folder)
