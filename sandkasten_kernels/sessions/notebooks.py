"""NotebookSessions: which notebook, console or editor uses which kernel, for Jupyter's ``/api/sessions``.

A notebook session is a client's name for a kernel. A `Session` is a claimed kernel.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import uuid
from dataclasses import dataclass, field
from typing import Any
from weakref import WeakValueDictionary

from ..errors import InvalidRequest, LimitReached, StoreFailed, UnknownNotebookSession
from ..store import Store
from .request import jupyter_request
from .session import OWNER, Session
from .sessions import Sessions
from .views import kernel_model

__all__ = ["NotebookSession", "NotebookSessions"]

MAX_LENGTH = 4096
MAX_NOTEBOOK_SESSIONS = 1024
_FIELDS = ("path", "name", "type")


@dataclass(eq=False)
class NotebookSession:
    """One client document and the kernel it uses."""

    path: str
    name: str
    type: str
    kernel: Session
    id: str = field(default_factory=lambda: str(uuid.uuid4()))

    def model(self) -> dict[str, Any]:
        """Return the session as ``/api/sessions`` shows it."""
        model = {name: getattr(self, name) for name in ("id", *_FIELDS)} | {"kernel": kernel_model(self.kernel)}
        return model | {"notebook": {"path": self.path, "name": self.name}} if self.type == "notebook" else model


class NotebookSessions:
    """Opens, changes and ends notebook sessions on the kernels of ``sessions``.

    Invariants: requests for one path at the same time start one kernel; a notebook session ends with its kernel;
    changes of one notebook session happen one after the other.
    """

    def __init__(self, sessions: Sessions, store: Store, log: logging.Logger) -> None:
        self._sessions = sessions
        self._store = store
        self._log = log
        self._known: dict[str, NotebookSession] = {}
        self._left: list[dict[str, str]] = []
        self._locks: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    def setup(self) -> None:
        """Restore the notebook sessions of an earlier process, as soon as their kernels are adopted."""
        self._left = self._store.notebooks()
        self._restore()

    def _restore(self) -> None:
        kernels = {kernel.id: kernel for kernel in self._sessions} if self._left else {}
        for row in [row for row in self._left if row["kernel"] in kernels]:
            self._left.remove(row)
            session = NotebookSession(row["path"], row["name"], row["type"], kernels[row["kernel"]], row["id"])
            self._known[session.id] = session

    def _keep(self, session: NotebookSession) -> None:
        values = {name: getattr(session, name) for name in ("id", *_FIELDS)}
        try:
            self._store.save_notebook({**values, "kernel": session.kernel.id})
        except StoreFailed as error:
            self._log.warning("notebook session %s cannot be stored: %s", session.id, error)

    def get(self, session_id: str, owner: str = OWNER) -> NotebookSession:
        """Return an owner's notebook session. Raises `UnknownNotebookSession`."""
        self._restore()
        found = self._known.get(session_id)
        if found is None or not self._lives(found) or found.kernel.record.owner != owner:
            raise UnknownNotebookSession(f"there is no session {session_id[:64]!r}")
        return found

    def models(self, owner: str = OWNER) -> list[dict[str, Any]]:
        """Return an owner's notebook sessions as ``/api/sessions`` shows them, oldest first."""
        return [session.model() for session in self._living() if session.kernel.record.owner == owner]

    async def open(self, body: dict[str, Any], owner: str = OWNER) -> tuple[NotebookSession, bool]:
        """Return the notebook session of ``body["path"]``, and whether it is new.

        A new one gets a new kernel, or the existing one that the body names.

        Raises `InvalidRequest`, `UnknownKernel`, and what `Sessions.create` raises.
        """
        strings = _strings(body)
        for name in ("path", "type"):
            if name not in strings:
                raise InvalidRequest(f"{name} is missing: a session has a path and a type")
        kernel_name, kernel_id = _kernel(body)
        async with self._lock(f"path {owner} {strings['path']}"):
            for session in self._living():
                if session.path == strings["path"] and session.kernel.record.owner == owner:
                    return session, False
            if len(self._known) >= MAX_NOTEBOOK_SESSIONS:
                raise LimitReached(f"there are {MAX_NOTEBOOK_SESSIONS} notebook sessions, which is the limit: end one")
            if kernel_id is not None:
                kernel = self._sessions.get(kernel_id, owner)
            else:
                request = jupyter_request(kernel_name, body.get("env"), self._sessions.policy.env_names)
                kernel = await self._sessions.create(request, owner)
            session = NotebookSession(strings["path"], strings.get("name", ""), strings["type"], kernel)
            self._known[session.id] = session
            self._keep(session)
            return session, True

    async def change(self, session_id: str, body: dict[str, Any], owner: str = OWNER) -> NotebookSession:
        """Change path, name, type or kernel of a notebook session. A new kernel ends the old one.

        Raises `InvalidRequest`, `UnknownNotebookSession`, and what `Sessions.create` raises; then nothing is changed.
        """
        self.get(session_id, owner)
        strings = _strings(body)
        kernel_name, kernel_id = _kernel(body)
        async with self._lock(f"session {session_id}"):
            session = self.get(session_id, owner)
            before = kernel = session.kernel
            if kernel_id is not None:
                if kernel_id not in self._sessions:
                    # 400 and not 404, as jupyter_server answers
                    raise InvalidRequest(f"there is no kernel {kernel_id[:64]!r}")
                kernel = self._sessions.get(kernel_id, owner)
            elif kernel_name is not None:
                request = jupyter_request(kernel_name, body.get("env"), self._sessions.policy.env_names)
                kernel = await self._sessions.create(request, owner)
                # `end` takes no lock: a client may have deleted it while the kernel started
                if session_id not in self._known:
                    self._sessions.end(kernel.id, "its notebook session was ended meanwhile", owner)
                    self.get(session_id, owner)
            for name, value in strings.items():
                setattr(session, name, value)
            session.kernel = kernel
            self._keep(session)
            if before is not kernel and before.id in self._sessions:
                self._end_kernel(before, "its notebook session has another kernel")
            return session

    def end(self, session_id: str, reason: str, owner: str = OWNER) -> None:
        """End a notebook session and its kernel. Raises `UnknownNotebookSession`."""
        # again: it may have ended while this request waited for the lock
        session = self.get(session_id, owner)
        del self._known[session_id]
        with contextlib.suppress(StoreFailed):  # the store drops it later, because its kernel has ended
            self._store.forget_notebook(session_id)
        self._end_kernel(session.kernel, reason)

    def _end_kernel(self, kernel: Session, reason: str) -> None:
        """End a kernel that ``/api`` made. A session of ``/v1`` lives on, because a client of ``/v1`` uses it."""
        if kernel.record.origin == "api":
            self._sessions.end(kernel.id, reason, kernel.record.owner)

    def _lock(self, name: str) -> asyncio.Lock:
        return self._locks.setdefault(name, asyncio.Lock())

    def _lives(self, session: NotebookSession) -> bool:
        return session.kernel.id in self._sessions

    def _living(self) -> list[NotebookSession]:
        self._restore()
        self._known = {session.id: session for session in self._known.values() if self._lives(session)}
        return list(self._known.values())


def _strings(body: dict[str, Any]) -> dict[str, str]:
    """Return the string fields of a body; old clients send the path in ``notebook``."""
    notebook = body.get("notebook")
    if isinstance(notebook, dict) and "path" in notebook:
        body = {**body, "path": notebook["path"], "type": "notebook"}
    strings = {name: body[name] for name in _FIELDS if body.get(name) is not None}
    for name, value in strings.items():
        if not isinstance(value, str) or len(value) > MAX_LENGTH:
            raise InvalidRequest(f"{name} must be a string of at most {MAX_LENGTH} characters")
    return strings


def _kernel(body: dict[str, Any]) -> tuple[str | None, str | None]:
    """Return name and id of the kernel that a body asks for; None for an empty string."""
    kernel = body.get("kernel")
    if kernel is None:
        return None, None
    if not isinstance(kernel, dict):
        raise InvalidRequest('kernel must be an object, as in {"name": "python3"}')
    found = [kernel.get(key) or None for key in ("name", "id")]
    if not all(isinstance(value, str | None) for value in found):
        raise InvalidRequest("kernel.name and kernel.id must be strings")
    return found[0], found[1]
