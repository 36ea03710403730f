"""SandboxClient: the client of a gateway, for event loops."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from types import TracebackType
from typing import Any, ClassVar, Self

from .address import find_gateway
from .api import Api
from .errors import StreamError
from .infos import Event, PoolInfo, SessionInfo, WorkspaceInfo
from .session import Session
from .wire import AsyncWire, BlockingWire
from .workspace import Workspace, workspace_infos

__all__ = ["SandboxClient"]

TIMEOUT_SECONDS = 120.0
RETRY_SECONDS = 10.0
AGAIN_SECONDS = 0.2


class SandboxClient:
    """A client of one gateway. As a context manager it is closed at the end of the block.

        async with SandboxClient() as client:
            async with await client.create_session(workspace_id="thesis") as session:
                print((await session.exec("ls")).output)

    Parameters
    ----------
    base_url: URL of the gateway; also the URL that it prints at start, with its token. Default: ``SANDKASTEN_URL``,
    else
        the gateway that this user runs on this machine.
    api_key: token of the gateway. Default: ``SANDKASTEN_API_KEY``, else that of the gateway on this machine.
    timeout: seconds within which the gateway must answer. Commands and code may take longer.
    retry_for: seconds in which a request is repeated, if it was certainly not carried out or may be carried out twice:
        the connection was refused, or the gateway asks to try again later.

    Raises `GatewayNotFound` when neither arguments nor environment nor this machine name a gateway.
    """

    _wire: ClassVar[type[AsyncWire | BlockingWire]] = AsyncWire

    def __init__(
        self,
        *,
        base_url: str | None = None,
        api_key: str | None = None,
        timeout: float = TIMEOUT_SECONDS,
        retry_for: float = RETRY_SECONDS,
    ) -> None:
        address = find_gateway(base_url, api_key)
        self._api = Api(self._wire(address, timeout), address, retry_for)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.base_url}>"

    @property
    def base_url(self) -> str:
        """The URL of the gateway."""
        return self._api.address.url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections. Sessions keep running."""
        await self._api.wire.close()

    async def create_session(
        self,
        *,
        image: str | None = "python",
        ttl_seconds: int | None = None,
        workspace_id: str | None = None,
        name: str | None = None,
        labels: Mapping[str, str] | None = None,
        env: Mapping[str, str] | None = None,
        mem_limit_mb: int | None = None,
        cpu_limit: float | None = None,
    ) -> Session:
        """Return a new session. The gateway chooses the value of a parameter that is None.

        Parameters
        ----------
        image: ``python``, ``base``, or a custom image of the gateway.
        ttl_seconds: the session ends this long after its last use.
        workspace_id: name of a persistent workspace; without one the files are deleted with the session.
        name, labels: strings of your own, to find the session again.
        env: environment variables of kernel and shell; the gateway never shows them.
        mem_limit_mb, cpu_limit: limits for memory (MiB) and processors.

        Raises `LimitReached`, `NoCapacity`, and `SandboxAPIError` for an invalid parameter.
        """
        parameters: dict[str, Any] = {
            "image": image,
            "ttl_seconds": ttl_seconds,
            "workspace_id": workspace_id,
            "name": name,
            "labels": dict(labels) if labels else None,
            "env": dict(env) if env else None,
            "mem_limit_mb": mem_limit_mb,
            "cpu_limit": cpu_limit,
        }
        body = {field: value for field, value in parameters.items() if value is not None}
        # not `again`: a second request would make a second session
        return Session(self._api, (await self._api.ask("POST", "/v1/sessions", json=body))["id"])

    async def get_session(self, session_id: str) -> Session:
        """Return an existing session. Raises `SessionNotFound`."""
        session = Session(self._api, session_id)
        await session.info()
        return session

    async def list_sessions(self, *, labels: Mapping[str, str] | None = None) -> list[SessionInfo]:
        """Return the sessions with these labels, newest first, including those that ended recently."""
        params = {"label": [f"{key}={value}" for key, value in (labels or {}).items()]}
        return [
            SessionInfo.of(entry) for entry in await self._api.ask("GET", "/v1/sessions", params=params, again=True)
        ]

    async def list_workspaces(self) -> list[WorkspaceInfo]:
        """Return the named workspaces."""
        return await workspace_infos(self._api)

    async def delete_workspace(self, workspace_id: str) -> None:
        """Delete a workspace with its files. Raises `WorkspaceInUse`, `WorkspaceNotFound`."""
        await Workspace(self._api, workspace_id).delete()

    def workspace(self, workspace_id: str) -> Workspace:
        """Return a workspace, to use its files without a session. This sends no request."""
        return Workspace(self._api, workspace_id)

    async def pool(self) -> list[PoolInfo]:
        """Return the state of the pool, for each kernelspec."""
        return [PoolInfo.of(entry) for entry in (await self._api.ask("GET", "/api/status", again=True))["pool"]]

    async def events(self, *, since: int | None = None, limit: int = 100) -> list[Event]:
        """Return at most ``limit`` events, oldest first: those after the event ``since``, without it the newest."""
        return (await self._events(since, limit))[0]

    async def follow_events(self, *, since: int | None = None, limit: int = 0) -> AsyncGenerator[Event, None]:
        """Yield the events after the event ``since``, without it the last ``limit``; then each new event.

        After a lost connection it reconnects, and misses no event.
        """
        if since is None:
            events, since = await self._events(None, limit)
            for event in events:
                yield event
        while True:
            async with aclosing(self._api.events("GET", "/v1/events", params={"since": str(since)})) as stream:
                try:
                    async for server_event in stream:
                        if server_event.name == "event":
                            event = Event.of(json.loads(server_event.data))
                            since = event.id
                            yield event
                except StreamError:
                    # a gateway that ends each stream at once must not be asked without a pause
                    await self._api.wire.sleep(AGAIN_SECONDS)

    async def _events(self, since: int | None, limit: int) -> tuple[list[Event], int]:
        """Return events, and the id after which the next ones follow."""
        params = {"limit": str(limit)} if since is None else {"limit": str(limit), "since": str(since)}
        data = await self._api.ask("GET", "/v1/events", params=params, again=True)
        return [Event.of(entry) for entry in data["events"]], int(data["last"])
