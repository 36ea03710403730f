"""The blocking client: the methods of the async classes, for code without an event loop.

There is one implementation. Over a `BlockingWire` its coroutines never suspend, so one step runs each to its end in the
caller's thread. No event loop and no other thread is involved, and Ctrl-C interrupts a call.
"""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, Self, TypeVar

from .client import RETRY_SECONDS, TIMEOUT_SECONDS, SandboxClient
from .session import Session
from .wire import BlockingWire
from .workspace import Workspace

__all__ = ["SyncSandboxClient", "SyncSession", "SyncWorkspace", "finished"]

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


def finished(coroutine: Coroutine[Any, Any, R]) -> R:
    """Return the result of a coroutine over a `BlockingWire`."""
    try:
        coroutine.send(None)
    except StopIteration as stop:
        result: R = stop.value
        return result
    coroutine.close()
    raise RuntimeError("a coroutine of the blocking client has suspended")


class _Method(Generic[P, R]):
    """A method of a blocking class that calls a method of the inner object, with its signature and docstring."""

    def __init__(self, inner: Callable[..., Any], call: Callable[..., R]) -> None:
        self._call: Any = functools.wraps(inner)(call)

    def __set_name__(self, owner: type, name: str) -> None:
        self._call.__qualname__ = f"{owner.__qualname__}.{name}"

    def __get__(self, instance: Any, owner: type | None = None) -> Callable[P, R]:
        bound: Callable[P, R] = self._call.__get__(instance, owner)
        return bound


def _blocking(method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]) -> _Method[P, R]:
    return _Method(method, lambda self, *args, **kwargs: finished(method(self._inner, *args, **kwargs)))


def _giving(kind: Callable[[R], S], method: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]]) -> _Method[P, S]:
    return _Method(method, lambda self, *args, **kwargs: kind(finished(method(self._inner, *args, **kwargs))))


def _iterating(
    method: Callable[Concatenate[Any, P], AsyncGenerator[R, None]],
) -> _Method[P, Generator[R, None, None]]:
    def call(self: Any, *args: Any, **kwargs: Any) -> Generator[R, None, None]:
        source = method(self._inner, *args, **kwargs)
        try:
            while True:
                try:
                    item = finished(source.__anext__())
                except StopAsyncIteration:
                    return
                yield item
        finally:
            # a caller that stops early: the answer's connection must be closed
            finished(source.aclose())

    return _Method(method, call)


class _SyncFiles:
    """The methods of `Files`."""

    _inner: Any

    write = _blocking(Session.write)
    read = _blocking(Session.read)
    upload = _blocking(Session.upload)
    download = _blocking(Session.download)
    download_stream = _iterating(Session.download_stream)
    ls = _blocking(Session.ls)
    mkdir = _blocking(Session.mkdir)
    remove = _blocking(Session.remove)
    unpack = _blocking(Session.unpack)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id}>"

    @property
    def id(self) -> str:
        """The id of the session, or the workspace's name."""
        return str(self._inner.id)


class SyncSession(_SyncFiles):
    """A `Session` with blocking methods. As a context manager it is destroyed at the end of the block."""

    def __init__(self, inner: Session) -> None:
        self._inner = inner

    exec = _blocking(Session.exec)
    exec_stream = _iterating(Session.exec_stream)
    run = _blocking(Session.run)
    run_stream = _iterating(Session.run_stream)
    interrupt = _blocking(Session.interrupt)
    restart = _blocking(Session.restart)
    extend = _blocking(Session.extend)
    stats = _blocking(Session.stats)
    info = _blocking(Session.info)
    destroy = _blocking(Session.destroy)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        finished(self._inner.__aexit__(kind, error, tb))


class SyncWorkspace(_SyncFiles):
    """A `Workspace` with blocking methods."""

    def __init__(self, inner: Workspace) -> None:
        self._inner = inner

    info = _blocking(Workspace.info)
    delete = _blocking(Workspace.delete)


class _OverBlockingWire(SandboxClient):
    _wire = BlockingWire


class SyncSandboxClient:
    """A `SandboxClient` with blocking methods. Several threads may use it at once.

        with SyncSandboxClient() as client, client.create_session() as session:
            print(session.exec("ls").output)

    The parameters are those of `SandboxClient`.
    """

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        retry_for: float = RETRY_SECONDS,
    ) -> None:
        self._inner = _OverBlockingWire(base_url=base_url, api_key=api_key, timeout=timeout, retry_for=retry_for)

    create_session = _giving(SyncSession, SandboxClient.create_session)
    get_session = _giving(SyncSession, SandboxClient.get_session)
    list_sessions = _blocking(SandboxClient.list_sessions)
    list_workspaces = _blocking(SandboxClient.list_workspaces)
    delete_workspace = _blocking(SandboxClient.delete_workspace)
    pool = _blocking(SandboxClient.pool)
    events = _blocking(SandboxClient.events)
    follow_events = _iterating(SandboxClient.follow_events)
    close = _blocking(SandboxClient.close)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.base_url}>"

    @property
    def base_url(self) -> str:
        """The URL of the gateway."""
        return self._inner.base_url

    def workspace(self, workspace_id: str) -> SyncWorkspace:
        """Return a workspace, to use its files without a session. This sends no request."""
        return SyncWorkspace(self._inner.workspace(workspace_id))

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


def inner_session(session: SyncSession) -> Session:
    """Return the session behind a blocking one; only `finished` may run its coroutines."""
    inner: Session = session._inner  # noqa: SLF001  same module
    return inner


def blocking_function(function: Callable[P, Coroutine[Any, Any, R]]) -> Callable[P, R]:
    """Return a blocking function for a coroutine function that uses an `inner_session`."""

    @functools.wraps(function)
    def call(*args: P.args, **kwargs: P.kwargs) -> R:
        return finished(function(*args, **kwargs))

    return call
