"""Requests to a gateway: their errors in words, and tried again where that is safe."""

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
"""A stream that says nothing for so long is dead: the gateway sends a comment every 10 s."""
FIRST_WAIT_SECONDS, LONGEST_WAIT_SECONDS = 0.1, 2.0
PASSING = (502, 503, 504, 429)


@dataclass(frozen=True, kw_only=True)
class _Call:
    """A request; ``silence`` is how many seconds may pass without a byte of the answer, 0 for any number."""

    method: str
    path: str
    json: Any = None
    params: Mapping[str, Any] | None = None
    body: Body | None = None
    again: bool = False
    streamed: bool = False
    silence: float | None = None


class Api:
    """Asks one gateway.

    A request that was certainly not carried out (the connection was refused, the answer is 429 or 503) is sent again,
    and one that may be carried out twice (``again``) also after a lost connection; for ``retry_for`` seconds in all.
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

        ``again``: carrying it out twice is as good as once. ``patient``: the answer may take as long as it takes.
        Raises `SandboxAPIError`, `GatewayUnreachable`.
        """
        silence = 0.0 if patient else None
        call = _Call(method=method, path=path, json=json, params=params, body=body, again=again, silence=silence)
        response = await self._answer(call)
        try:
            return response.json()
        except ValueError as error:
            raise GatewayUnreachable(f"{self.address.url} is no gateway: it answered with something else") from error

    @asynccontextmanager
    async def download(
        self, path: str, params: Mapping[str, Any]
    ) -> AsyncIterator[tuple[httpx.Response, AsyncGenerator[bytes, None]]]:
        """Give an answer and the pieces of its body. Raises as `ask`, and `StreamError` where it is cut off."""
        call = _Call(method="GET", path=path, params=params, again=True, streamed=True)
        async with self._opened(call) as opened:
            yield opened

    async def events(
        self, method: str, path: str, *, json: Any = None, params: Mapping[str, Any] | None = None
    ) -> AsyncGenerator[ServerEvent, None]:
        """Yield server-sent events as they come, to the end of the answer. Raises as `download`."""
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
            raise StreamError(f"the connection to {self.address.url} was lost in the midst of an answer") from error

    async def _answer(self, call: _Call) -> httpx.Response:
        """Return an answer that is none of an error, read already where it is not streamed."""
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
            words = f"did not answer within {error.request.extensions['timeout']['read']:g} s"
        elif isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
            words = f"cannot be reached: {error}"
        else:
            words = f"ended the connection before it had answered: {error}"
        return GatewayUnreachable(f"the gateway at {self.address.url} {words}", request=_request_of(error))


def _request_of(error: httpx.TransportError) -> httpx.Request | None:
    try:
        return error.request
    except RuntimeError:
        return None


def _may_repeat(error: httpx.TransportError, again: bool) -> bool:
    """Return whether a request that ended so can be sent once more: it was never carried out, or may be twice."""
    if isinstance(error, httpx.ConnectError | httpx.ConnectTimeout):
        return not _is_final(error)
    return again and isinstance(error, httpx.NetworkError | httpx.RemoteProtocolError)


def _is_final(error: BaseException | None) -> bool:
    """Return whether it was for a certificate or a name, which are the same a moment later."""
    while error:
        if isinstance(error, ssl.SSLError | socket.gaierror):
            return True
        error = error.__cause__ or error.__context__
    return False


def _pause(response: httpx.Response, wait: float, again: bool) -> float | None:
    """Return after how many seconds the same request may be sent again; None for never."""
    if response.status_code not in PASSING:
        return None
    asked = response.headers.get("Retry-After", "")
    if asked.isascii() and asked.isdigit() and response.status_code in (429, 503):
        return max(float(asked), wait)
    return wait * random.uniform(0.8, 1.2) if again else None  # noqa: S311  so that not all come back at once
