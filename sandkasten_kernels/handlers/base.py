"""The base of every handler: authentication, JSON in and out, errors in one shape."""

from __future__ import annotations

import asyncio
import http
import json
import logging
import re
import uuid
from collections.abc import Coroutine
from typing import Any, TypeVar
from urllib.parse import unquote_plus

from tornado.web import HTTPError, RequestHandler

from ..errors import ForeignPage, InvalidRequest, SandboxFailed, SandkastenError, TooLarge, Unauthorized
from ..sessions import OWNER
from .auth import XSRF_HEADER
from .bodies import MAX_BODY_BYTES, is_oversized
from .services import Services

__all__ = ["Handler", "log_request"]

T = TypeVar("T")
log = logging.getLogger("sandkasten_kernels.http")
_UNPRINTABLE = re.compile(r"[^ -~]")
_PARAMETER = re.compile(r"(?<=[?&])([^=&]*)=[^&]*")


def _masked(parameter: re.Match[str]) -> str:
    """Return a query parameter for the log, with the value of ``token`` masked."""
    # A client may percent-encode the name, or write a second "?" before it: both still carry a token.
    name = unquote_plus(parameter[1]).rpartition("?")[2]
    return f"{parameter[1]}=[secret]" if name.lower() == "token" else parameter[0]


def log_request(handler: RequestHandler) -> None:
    """Log one line for a finished request, without any token, and count it."""
    status = handler.get_status()
    level = logging.DEBUG if status < 400 else logging.WARNING if status < 500 else logging.ERROR
    # a line break in the URI would forge a line of the log
    uri = _UNPRINTABLE.sub("?", _PARAMETER.sub(_masked, handler.request.uri or "")[:512])
    request_id = getattr(handler, "request_id", "-")
    duration = 1000 * handler.request.request_time()
    called = f"{handler.request.method} {uri}"
    if isinstance(handler, Handler):
        route = handler.settings.get("route_names", {}).get(type(handler), "other")
        method, seconds = handler.request.method or "", handler.request.request_time()
        handler.services.metrics.requested(route, method, status, seconds)
    log.log(level, "%d %s %.1f ms %s [%s]", status, called, duration, handler.request.remote_ip, request_id)


class Handler(RequestHandler):
    """A handler that needs a key and answers errors as JSON.

    Attributes
    ----------
    open_to_all: True in the few handlers that need no key.
    way_out: text appended to the error for a body that is too large, in handlers that know an alternative.
    owner: the owner that the key belongs to; empty before `authenticate`.
    """

    open_to_all = False
    way_out = ""
    owner = ""
    _work: asyncio.Future[Any] | None = None
    _gone = False
    request_id = ""

    def initialize(self, services: Services) -> None:
        self.services = services

    def set_default_headers(self) -> None:
        # once: Tornado calls this again for an error's answer, and the log has the cause under the first id
        self.request_id = self.request_id or uuid.uuid4().hex[:12]
        self.set_header("X-Request-Id", self.request_id)
        self.set_header("X-Content-Type-Options", "nosniff")
        # a browser may open any answer as a page: none of them runs a script
        self.set_header("Content-Security-Policy", "default-src 'none'; sandbox; frame-ancestors 'none'")
        self.set_header("Cache-Control", "no-store")
        self.set_header("Server", "sandkasten-kernels")
        # from the settings: Tornado calls this method before `initialize`
        for name, value in self.settings["web"].cors(self.request.headers).items():
            self.set_header(name, value)

    def prepare(self) -> None:
        if self.request.method == "OPTIONS":
            return
        self.authenticate()
        if is_oversized(self.request):
            limit = f"{MAX_BODY_BYTES // 2**20} MiB"
            raise TooLarge(f"the body is larger than {limit}, the limit of a request{self.way_out}")

    def authenticate(self) -> None:
        """Set `owner`, unless `open_to_all`.

        Raises `Unauthorized` for a caller without a key, and `ForeignPage` for a change by cookie that does not come
        from one of our own pages.
        """
        if self.open_to_all:
            return
        means = self.services.authenticator.caller(self.request)
        if not means:
            raise Unauthorized(
                "a token is needed: send 'Authorization: token ...', or open the URL that the gateway printed at start"
            )
        if means == "cookie":
            self._check_page()
        self.owner = OWNER

    def _check_page(self) -> None:
        """Raise `ForeignPage` unless one of our own pages sent the request.

        A browser sends the cookie with every request, also with those that a foreign page makes.
        """
        headers = self.request.headers
        # CORS does not cover WebSockets: any page can open one, and the browser sends the cookie
        if "Upgrade" in headers:
            if not self.services.web.is_trusted_page(headers, named=True):
                raise ForeignPage(
                    "a cookie opens a WebSocket from the gateway's own pages only: "
                    "send a token, or see trust_proxy and allow_credentials"
                )
        elif self.request.method not in ("GET", "HEAD"):
            if not self.services.web.is_trusted_page(headers):
                raise ForeignPage(
                    "a cookie allows changes from the gateway's own pages only: "
                    "send a token, or see trust_proxy and allow_credentials"
                )
            if not self.services.authenticator.has_xsrf_token(self.request):
                raise ForeignPage(f"a change by cookie needs the header {XSRF_HEADER}: reload the page to get it")

    def options(self, *args: str) -> None:
        """Answer ``OPTIONS``, also without a token: browsers send none with a preflight."""
        self.set_status(204)
        self.set_header("Allow", self.allowed_methods())
        for name, value in self.services.web.preflight(self.request.headers, self.allowed_methods()).items():
            self.set_header(name, value)

    @classmethod
    def allowed_methods(cls) -> str:
        """Return the methods of the handler, as the ``Allow`` header lists them; empty for none."""
        return ", ".join(
            name
            for name in cls.SUPPORTED_METHODS
            if getattr(cls, name.lower()) is not getattr(RequestHandler, name.lower())
        )

    def url(self, path: str) -> str:
        """Return a route's path with the base URL in front."""
        return self.services.web.path(path)

    async def unless_gone(self, work: Coroutine[Any, Any, T]) -> T:
        """Return the result of ``work``. When the client disconnects, ``work`` is cancelled.

        Raises `asyncio.CancelledError` then, and any error of ``work``; `SandboxFailed` when the gateway stops.
        """
        task = self.services.tasks.awaited("request", work)
        self._work = task
        try:
            return await task
        except asyncio.CancelledError:
            if self._gone:
                raise
            # the client still waits: without this it would get an empty answer with status 200
            raise SandboxFailed("the gateway is stopping: try again", retry_after=5) from None

    def on_connection_close(self) -> None:
        super().on_connection_close()  # in a WebSocket's handler, Tornado's method closes it
        self.abandon()

    def abandon(self) -> None:
        """Cancel the work of `unless_gone`, as for a client that disconnected. An answer can still be written."""
        if not self._gone and self._work is not None:
            self._work.cancel()  # once: a second cancel would interrupt its cleanup
        self._gone = True

    def json_body(self) -> dict[str, Any]:
        """Return the body as a JSON object, {} for an empty body. Raises `InvalidRequest`."""
        if not self.request.body.strip():
            return {}
        try:
            body = json.loads(self.request.body)
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"the body is not valid JSON: {error}"[:300]) from error
        if not isinstance(body, dict):
            raise InvalidRequest("the body must be a JSON object")
        return body

    def write_json(self, value: Any, status: int = 200) -> None:
        """Answer with a JSON document."""
        self.set_status(status)
        self.write_text(json.dumps(value))

    def write_text(self, document: str) -> None:
        """Answer with text that is a JSON document already."""
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.finish(document)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer with an error as JSON: a public one with its message, any other with the id that the log has."""
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        details: dict[str, Any] = {}
        code = http.HTTPStatus(status_code).name
        if isinstance(error, SandkastenError):
            code, message, details = error.code, error.message, dict(error.details)
            self.set_status(self.status_of(error))
            if error.retry_after is not None:
                self.set_header("Retry-After", str(error.retry_after))
            if error.status == 401:
                # not Basic, at which a browser would ask for a user and a password
                self.set_header("WWW-Authenticate", 'Bearer realm="sandkasten-kernels"')
        elif isinstance(error, HTTPError) and status_code < 500:
            message = (error.log_message or http.HTTPStatus(status_code).phrase) % error.args
            if status_code == 405:
                self.set_header("Allow", self.allowed_methods())
                message = f"method not allowed; allowed: {self.allowed_methods()}"
        else:
            code = "INTERNAL_ERROR"
            message = f"internal error: search the gateway's log for {self.request_id}"
            details = {"request_id": self.request_id}
        reason = http.HTTPStatus(self.get_status()).phrase
        body = {
            "error": message,
            "error_code": code,
            "message": message,
            "reason": reason,
            "details": details,
        }
        self.write_json(body, self.get_status())

    def status_of(self, error: SandkastenError) -> int:
        """Return the HTTP status for a public error."""
        return error.status

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log an unexpected error with its traceback and the request's id; a public one only at level DEBUG."""
        if isinstance(value, SandkastenError | HTTPError):
            log.debug("%s [%s]", value, self.request_id)
        else:
            log.error("request %s failed", self.request_id, exc_info=(typ, value, tb))

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        super().send_error(self.status_of(error) if isinstance(error, SandkastenError) else status_code, **kwargs)
