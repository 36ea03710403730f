"""Api: sends requests to a gateway, repeats them where that is safe, and raises errors of the SDK."""

from __future__ import annotations

import json
import random
import socket
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx

from .address import Address
from .errors import GatewayUnreachable, SandboxAPIError, StreamError, api_error
from .sse import EventReader, ServerEvent
from .wire import Body, Wire

__all__ = ["Api"]

HEARTBEAT_SECONDS = 60.0
"""The timeout of a silent stream: the gateway sends a heartbeat every 10 s."""
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.1, 2.0
TRANSIENT = (502, 503, 504, 429)


@dataclass(frozen=True, kw_only=True)
class _Call:
    """A request.

    ``again``: it may be carried out twice. ``silence``: the read timeout in seconds, 0 for no timeout, None for the
    client's own.
    """

    method: str
    path: str
    json: Any = None
    params: Mapping[str, Any] | None = None
    body: Body | None = None
    again: bool = False
    streamed: bool = False
    silence: float | None = None


class Api:
    """Sends requests to one gateway.

    It repeats a request that was certainly not carried out: the connection was refused, or the answer is 429 or 503. It
    also repeats one that may be carried out twice (``again``) after a lost connection. It stops after ``retry_for``
    seconds.
    """

    def __init__(self, wire: Wire, address: Address, retry_for: float) -> None:
        self.wire = wire
        self.address = address
        self._retry_for = retry_for

    async def ask(
        self,
        method: str,
        path: str,
        *,
        again: bool = False,
        patient: bool = False,
        json: Any = None,
        params: Mapping[str, Any] | None = None,
        body: Body | None = None,
    ) -> Any:
        """Return the JSON of the answer.

        ``again``: the request may be carried out twice. ``patient``: the answer has no timeout. Raises
        `SandboxAPIError`, `GatewayUnreachable`.
        """
        silence = 0.0 if patient else None
        call = _Call(method=method, path=path, json=json, params=params, body=body, again=again, silence=silence)
        response = await self._answer(call)
        try:
            return response.json()
        except ValueError as error:
            raise GatewayUnreachable(f"{self.address.url} is not a gateway: its answer is not JSON") from error

    @asynccontextmanager
    async def download(
        self, path: str, params: Mapping[str, Any]
    ) -> AsyncIterator[tuple[httpx.Response, AsyncGenerator[bytes, None]]]:
        """Yield the answer, and the pieces of its body. Raises as `ask`, and `StreamError` for a lost connection."""
        call = _Call(method="GET", path=path, params=params, again=True, streamed=True)
        async with self._opened(call) as opened:
            yield opened

    async def events(
        self, method: str, path: str, *, json: Any = None, params: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[ServerEvent, None]:
        """Yield server-sent events as they arrive, until the answer ends. Raises as `download`."""
        call = _Call(
            method=method,
            path=path,
            json=json,
            params=params,
            again=method == "GET",
            streamed=True,
            silence=HEARTBEAT_SECONDS,
        )
        reader = EventReader()
        async with self._opened(call) as (_, pieces):
            async for piece in pieces:
                for event in reader.feed(piece):
                    yield event

    @asynccontextmanager
    async def _opened(self, call: _Call) -> AsyncIterator[tuple[httpx.Response, AsyncGenerator[bytes, None]]]:
        response = await self._answer(call)
        try:
            async with aclosing(self._pieces(response)) as pieces:
                yield response, pieces
        finally:
            await self.wire.finish(response)

    async def _pieces(self, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        try:
            async with aclosing(self.wire.pieces(response)) as pieces:
                async for piece in pieces:
                    yield piece
        except httpx.TransportError as error:
            raise StreamError(
                f"the connection to {self.address.url} was lost before the answer was complete"
            ) from error

    async def _answer(self, call: _Call) -> httpx.Response:
        """Return a successful answer; its body is read already unless it is streamed. Raises as `ask`."""
        deadline = time.monotonic() + self._retry_for
        wait = FIRST_WAIT_SECONDS
        while True:
            try:
                response = await self.wire.send(self._request(call))
                if not call.streamed or response.status_code >= 300:
                    await self.wire.read(response)
                if response.status_code < 300:
                    return response
                error: SandboxAPIError | GatewayUnreachable = api_error(response)
                pause = _pause(response, wait, call.again)
            except httpx.TransportError as lost:
                error = self._unreachable(lost)
                error.__cause__ = lost
                pause = wait if _may_repeat(lost, call.again) else None
            if pause is None or (call.body and call.body.spent) or time.monotonic() + pause > deadline:
                raise error
            await self.wire.sleep(pause)
            wait = min(2 * wait, LONGEST_WAIT_SECONDS)

    def _request(self, call: _Call) -> httpx.Request:
        headers = {
            "Accept": "text/event-stream, */*" if call.streamed else "*/*",
            **(call.body.headers if call.body else {}),
        }
        data = None
        if call.json is not None:
            data = json.dumps(call.json).encode()
            headers["Content-Type"] = "application/json"
        options: dict[str, Any] = {} if call.silence is None else {"timeout": self._timeout(call.silence or None)}
        request = self.wire.http.build_request(
            call.method, call.path, content=data, params=call.params, headers=headers, **options
        )
        if call.body:
            request.stream = call.body
        return request

    def _timeout(self, read: float | None) -> httpx.Timeout:
        usual = self.wire.http.timeout
        return httpx.Timeout(connect=usual.connect, read=read, write=usual.write, pool=None)

    def _unreachable(self, error: httpx.TransportError) -> GatewayUnreachable:
        if isinstance(error, httpx.ReadTimeout):
            problem = f"did not answer within {error.request.extensions['timeout']['read']:g} s"
        elif isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            problem = f"cannot be reached: {error}"
        else:
            problem = f"closed the connection before it answered: {error}"
        return GatewayUnreachable(f"the gateway at {self.address.url} {problem}", request=_request_of(error))


def _request_of(error: httpx.TransportError) -> httpx.Request | None:
    try:
        return error.request
    except RuntimeError:
        # httpx raises it for an error that has no request
        return None


def _may_repeat(error: httpx.TransportError, again: bool) -> bool:
    """Return whether a request with this error can be repeated: it was not carried out, or may be twice."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return not _is_final(error)
    return again and isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)


def _is_final(error: BaseException | None) -> bool:
    """Return whether the cause is a certificate or a host name: repeating does not help."""
    while error:
        if isinstance(error, ssl.SSLError | socket.gaierror):
            return True
        # httpx and httpcore wrap the error of the socket in their own
        error = error.__cause__ or error.__context__
    return False


def _pause(response: httpx.Response, wait: float, again: bool) -> float | None:
    """Return the seconds after which the request can be repeated; None if it cannot."""
    if response.status_code not in TRANSIENT:
        return None
    asked = response.headers.get("Retry-After", "")
    # HTTP allows a date too; the gateway sends seconds
    if asked.isascii() and asked.isdigit() and response.status_code in (429, 503):
        return max(float(asked), wait)
    return wait * random.uniform(0.8, 1.2) if again else None  # noqa: S311  spreads the retries of many clients
