"""Targets: the session or workspace that a word of the command line names."""

from __future__ import annotations

from ..client import SandboxError, SyncSandboxClient, SyncSession, SyncWorkspace

__all__ = ["SESSION_HELP", "files_of", "session_of"]

SESSION_HELP = "id of a running session, the first characters of one, or its name"
LEAST_PREFIX = 4


def session_of(client: SyncSandboxClient, target: str) -> SyncSession:
    """Return the running session with this id, else with this name, else the only one whose id starts so.

    The start of an id needs at least four characters. Raises `SandboxError` where no session or several match.
    """
    if session := _find_session(client, target):
        return session
    raise SandboxError(f"no running session {target!r}: `sandkasten-kernels ps` lists them")


def files_of(client: SyncSandboxClient, target: str) -> SyncSession | SyncWorkspace:
    """Return the session with this id, else the workspace with this name, else the session as `session_of` finds it.

    Raises `SandboxError` where nothing or several sessions match.
    """
    names = [info.id for info in client.list_workspaces()]
    if target in names and all(info.id != target for info in client.list_sessions()):
        return client.workspace(target)
    if session := _find_session(client, target):
        return session
    raise SandboxError(f"{target!r} is neither a running session nor a workspace")


def _find_session(client: SyncSandboxClient, target: str) -> SyncSession | None:
    running = [info for info in client.list_sessions() if info.status == "running"]
    for found in (
        [info.id for info in running if info.id == target],
        [info.id for info in running if info.name == target],
        [info.id for info in running if len(target) >= LEAST_PREFIX and info.id.startswith(target)],
    ):
        if len(found) > 1:
            raise SandboxError(f"{target!r} matches more than one session: {', '.join(found)}")
        if found:
            return client.get_session(found[0])
    return None
