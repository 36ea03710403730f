"""StreamedHandler: uses a body of any size while it arrives, in pieces, with backpressure."""

from __future__ import annotations

import asyncio
from asyncio import Future
from collections import deque
from collections.abc import AsyncIterator
from typing import Any, cast

from tornado.http1connection import HTTP1Connection
from tornado.web import HTTPError, stream_request_body

from ...errors import SandkastenError, TooLarge, Unauthorized
from ..bodies import MAX_BODY_BYTES, MAX_DROPPED_BYTES
from .base import V1Handler

__all__ = ["Pieces", "StreamedHandler"]

LONGEST_SECONDS = 86_400.0
MAX_ANNOUNCED_BYTES = 2**62
MAX_AHEAD_BYTES = 256 * 1024
FRAME_BYTES = 8 * 1024 * 1024


class Pieces:
    """A queue of pieces between one producer and one consumer.

    The producer waits while more than `MAX_AHEAD_BYTES` are queued.
    """

    def __init__(self) -> None:
        self._pieces: deque[bytes] = deque()
        self._size = 0
        self._ended = self._unwanted = False
        self._changed = asyncio.Event()

    async def put(self, piece: bytes) -> None:
        """Queue a piece, and return when there is room for the next. After `drop` it does not wait."""
        self._pieces.append(piece)
        self._size += len(piece)
        self._changed.set()
        while self._size > MAX_AHEAD_BYTES and not self._unwanted:
            await self._change()

    def end(self) -> None:
        """Say that no more pieces come: the iteration ends behind the last one."""
        self._ended = True
        self._changed.set()

    def drop(self) -> None:
        """Say that the consumer reads no more."""
        self._unwanted = True
        self._changed.set()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while self._pieces or not self._ended:
            if not self._pieces:
                await self._change()
                continue
            piece = self._pieces.popleft()
            self._size -= len(piece)
            self._changed.set()
            yield piece

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()


@stream_request_body
class StreamedHandler(V1Handler):
    """A handler that passes the body of a ``POST`` to `take` while it arrives, up to ``limits.max_upload_bytes``.

    A client may send slowly, but may not pause for longer than the application's ``idle_seconds``. When it disconnects,
    `take` is cancelled. An error is answered at once. The rest of the body is then read and dropped: many clients read
    the answer only after they have sent everything.
    """

    _pieces: Pieces
    _taking: asyncio.Task[Any] | None = None
    _timer: asyncio.TimerHandle | None = None
    _receiving = _refused = _answered = False
    _droppable = MAX_DROPPED_BYTES

    def check(self, session_id: str) -> None:
        """Raise a `SandkastenError` for a request that can be refused before its body is read."""

    async def take(self, pieces: AsyncIterator[bytes], session_id: str) -> Any:
        """Use the body, and return the JSON document for the answer."""
        raise NotImplementedError

    def prepare(self) -> None:
        if self.request.method != "POST":
            super().prepare()
            return
        limit = self.services.limits.max_upload_bytes
        connection = cast(HTTP1Connection, self.request.connection)
        # Tornado would close the connection at a larger length; `_check_length` answers instead
        connection.set_max_body_size(MAX_ANNOUNCED_BYTES)
        # Tornado's timeout is for the whole body; `_await_client` has one for each piece
        connection.set_body_timeout(LONGEST_SECONDS)
        self._droppable = limit + MAX_DROPPED_BYTES
        self._receiving = True
        self._pieces = Pieces()
        self._await_client()
        try:
            super().prepare()
            self._check_length(limit)
            self.check(*self.path_args)
        except SandkastenError as error:
            self._refuse(error)
            return
        self._taking = self.services.tasks.awaited("upload", self.take(aiter(self._pieces), *self.path_args))
        self._work = self._taking
        self._taking.add_done_callback(self._taken)

    async def data_received(self, chunk: bytes) -> None:
        # from here the client waits for the gateway: its own timeout must not run
        self._await_client(False)
        if self._taking is not None and not self._taking.done():
            await self._pieces.put(chunk)
        else:
            self._droppable -= len(chunk)
            if self._droppable < 0:
                self._cut_off()
        self._await_client()

    async def post(self, *args: str) -> None:
        self._receiving = False
        self._await_client(False)
        if self._answered:
            self.finish()
            return
        assert self._taking is not None
        self._pieces.end()
        try:
            self.write_json(await self._taking)
        except asyncio.CancelledError:
            return

    def finish(self, chunk: str | bytes | dict[str, Any] | None = None) -> Future[None]:
        # while the body arrives the answer is only sent; `post` finishes when all of it is read
        if not self._receiving:
            return super().finish(chunk)
        if not self._answered:
            assert isinstance(chunk, str)
            self._answered = True
            self.set_header("Content-Length", str(len(chunk.encode())))
            self.write(chunk)
        return self.flush()

    def on_finish(self) -> None:
        self._await_client(False)

    def on_connection_close(self) -> None:
        self._receiving = False
        self._await_client(False)
        super().on_connection_close()

    def _check_length(self, limit: int) -> None:
        announced = self.request.headers.get("Content-Length", "")
        # cut: int() refuses more than 4300 digits
        if announced.isdecimal() and int(announced[:20]) > limit + FRAME_BYTES:
            raise TooLarge(f"more than {limit} bytes: limits.max_upload_bytes allows no larger upload")

    def _refuse(self, error: SandkastenError) -> None:
        self._refused = True
        if isinstance(error, Unauthorized):
            self._droppable = MAX_BODY_BYTES
        if self.request.headers.get("Expect", "").lower() == "100-continue":
            self._receiving = False  # the client waits for an answer before it sends the body: none will come
        self._answer(error)

    def _answer(self, error: BaseException) -> None:
        status = error.status_code if isinstance(error, HTTPError) else 500
        self.send_error(status, exc_info=(type(error), error, error.__traceback__))

    def _taken(self, taking: asyncio.Task[Any]) -> None:
        # `data_received` may wait for room in the queue
        self._pieces.drop()
        if taking.cancelled() or (error := taking.exception()) is None:
            return
        if self._gone:
            self.log_exception(type(error), error, error.__traceback__)
        elif self._receiving:
            self.log_exception(type(error), error, error.__traceback__)
            self._answer(error)

    def _await_client(self, waiting: bool = True) -> None:
        """Start the timeout for the client's next piece, or stop it. After a refusal it is started once only."""
        if self._timer is not None:
            if self._refused and self._receiving:
                return
            self._timer.cancel()
            self._timer = None
        if waiting and self._receiving:
            self._timer = asyncio.get_running_loop().call_later(self.settings["idle_seconds"], self._cut_off)

    def _cut_off(self) -> None:
        cast(HTTP1Connection, self.request.connection).stream.close()
