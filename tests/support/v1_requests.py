"""The REST API of sessions, as the tests ask for it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from tests.support.kernel_client import Api
from tests.support.waiting import eventually

WAITS = "until [ -e /workspace/go ]; do sleep 0.02; done"
"""A command that ends when the test wants it to, by `go`."""


async def post(api: Api, path: str, status: int = 200, **body: Any) -> dict[str, Any]:
    """Return the answer, which must have a status."""
    response = await api.request("POST", path, body)
    assert response.code == status, response.body
    return dict(json.loads(response.body))


async def create(api: Api, **body: Any) -> dict[str, Any]:
    """Return the info of a new session."""
    return await post(api, "/v1/sessions", 201, **body)


async def run(api: Api, session: dict[str, Any], status: int = 200, **body: Any) -> dict[str, Any]:
    """Return what a command, ``cmd``, or a cell, ``code``, gave."""
    return await post(api, f"/v1/sessions/{session['id']}/exec", status, **body)


async def begun(api: Api, session: dict[str, Any], name: str = "begun") -> None:
    """Return when a file of the workspace is there, which what runs has made."""
    await eventually(
        lambda: api.get(f"/v1/sessions/{session['id']}/fs"),
        lambda listing: any(entry["name"] == name for entry in listing["entries"]),
    )


async def go(api: Api, session: dict[str, Any]) -> None:
    """Let what `WAITS` in a session's workspace go on."""
    response = await api.request("POST", f"/v1/sessions/{session['id']}/fs/write", {"path": "go", "text": ""})
    assert response.code == 200, response.body


async def ended(api: Api, session: dict[str, Any]) -> dict[str, Any]:
    """Return a session's info when it does not run any more."""
    return dict(
        await eventually(lambda: api.get(f"/v1/sessions/{session['id']}"), lambda info: info["status"] != "running")
    )


def when(text: str) -> datetime:
    """Return the time that an answer names."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=UTC)
