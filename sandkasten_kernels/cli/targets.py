"""What a word of the command line means: a session or a workspace."""

from __future__ import annotations

from ..client import SandboxError, SyncSandboxClient, SyncSession, SyncWorkspace

__all__ = ["files_of", "session_of"]

LEAST_PREFIX = 4


def session_of(client: SyncSandboxClient, word: str) -> SyncSession:
    """Return the running session that has this id, this name, or alone an id that begins so. Raises `SandboxError`."""
    if session := _session_of(client, word):
        return session
    raise SandboxError(f"no session {word!r} runs: `sandkasten-kernels ps` lists them")


def files_of(client: SyncSandboxClient, word: str) -> SyncSession | SyncWorkspace:
    """Return the session of `session_of`, or the workspace of this name. Raises `SandboxError`."""
    names = [info.id for info in client.list_workspaces()]
    if word in names and all(info.id != word for info in client.list_sessions()):
        return client.workspace(word)
    if session := _session_of(client, word):
        return session
    raise SandboxError(f"{word!r} is no session that runs, and no workspace")


def _session_of(client: SyncSandboxClient, word: str) -> SyncSession | None:
    running = [info for info in client.list_sessions() if info.status == "running"]
    for found in (
        [info.id for info in running if info.id == word],
        [info.id for info in running if info.name == word],
        [info.id for info in running if len(word) >= LEAST_PREFIX and info.id.startswith(word)],
    ):
        if len(found) > 1:
            raise SandboxError(f"{word!r} is more than one session: {', '.join(found)}")
        if found:
            return client.get_session(found[0])
    return None
