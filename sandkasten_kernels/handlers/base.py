"""What every handler shares: who may call, JSON in and out, errors in one shape."""

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

from ..errors import ForeignPage, InvalidRequest, SandkastenError, TooLarge, Unauthorized
from ..sessions.session import OWNER
from .auth import XSRF_HEADER
from .bodies import MAX_BODY_BYTES, is_oversized
from .services import Services

__all__ = ["Handler", "log_request"]

T = TypeVar("T")
log = logging.getLogger("sandkasten_kernels.http")
_UNPRINTABLE = re.compile(r"[^ -~]")
_PARAMETER = re.compile(r"(?<=[?&])([^=&]*)=[^&]*")


def _masked(parameter: re.Match[str]) -> str:
    """Return a parameter of a query as it may be logged: a token is one however its name is written."""
    name = unquote_plus(parameter[1]).rpartition("?")[2]
    return f"{parameter[1]}=[secret]" if name.lower() == "token" else parameter[0]


def log_request(handler: RequestHandler) -> None:
    """Write one line for a finished request: no token is in it."""
    status = handler.get_status()
    level = logging.DEBUG if status < 400 else logging.WARNING if status < 500 else logging.ERROR
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
    """A handler whose caller has a key, and whose errors are JSON.

    ``open_to_all`` is set by the few handlers that need no key, ``way_out`` by those that can say what else to do with
    a body that is too large.
    """

    open_to_all = False
    way_out = ""
    owner = ""
    _work: asyncio.Future[Any] | None = None
    _gone = False

    def initialize(self, services: Services) -> None:
        self.services = services

    def set_default_headers(self) -> None:
        self.request_id = uuid.uuid4().hex[:12]
        self.set_header("X-Request-Id", self.request_id)
        self.set_header("X-Content-Type-Options", "nosniff")
        self.set_header("Content-Security-Policy", "default-src 'none'; sandbox; frame-ancestors 'none'")
        self.set_header("Cache-Control", "no-store")
        self.set_header("Server", "sandkasten-kernels")
        for name, value in self.settings["web"].cors(self.request.headers).items():
            self.set_header(name, value)

    def prepare(self) -> None:
        if self.request.method == "OPTIONS":
            return
        self.authenticate()
        if is_oversized(self.request):
            limit = f"{MAX_BODY_BYTES // 2**20} MiB, the most that a request may have"
            raise TooLarge(f"the body is larger than {limit}{self.way_out}")

    def authenticate(self) -> None:
        """Raise `Unauthorized` for a caller without a key, `ForeignPage` for a change that none of our pages made."""
        if self.open_to_all:
            return
        means = self.services.authenticator.caller(self.request)
        if not means:
            raise Unauthorized(
                "a token is needed: send it as 'Authorization: token ...', or open the URL printed at start"
            )
        if means == "cookie":
            self._check_page()
        self.owner = OWNER

    def _check_page(self) -> None:
        """Raise `ForeignPage` for what a browser was made to send: it adds the cookie whoever asks."""
        headers = self.request.headers
        if "Upgrade" in headers:
            if not self.services.web.is_trusted_page(headers, named=True):
                raise ForeignPage(
                    "a WebSocket by cookie is opened from our own pages only (trust_proxy, allow_credentials)"
                )
        elif self.request.method not in ("GET", "HEAD"):
            if not self.services.web.is_trusted_page(headers):
                raise ForeignPage("a change by cookie is made from our own pages only (trust_proxy, allow_credentials)")
            if not self.services.authenticator.has_xsrf_token(self.request):
                raise ForeignPage(f"a change by cookie needs the header {XSRF_HEADER} of the page: load it anew")

    def options(self, *args: str) -> None:
        """Answer what a client may ask before it has a token."""
        self.set_status(204)
        self.set_header("Allow", self.allowed_methods())
        for name, value in self.services.web.preflight(self.request.headers, self.allowed_methods()).items():
            self.set_header(name, value)

    @classmethod
    def allowed_methods(cls) -> str:
        """Return the methods that the route has, as the ``Allow`` header lists them."""
        return ", ".join(
            name
            for name in cls.SUPPORTED_METHODS
            if getattr(cls, name.lower()) is not getattr(RequestHandler, name.lower())
        )

    def url(self, path: str) -> str:
        """Return the path of a route as a client has to ask for it."""
        return self.services.web.path(path)

    async def unless_gone(self, work: Coroutine[Any, Any, T]) -> T:
        """Return what ``work`` returns; it is cancelled when the client goes away, and so is the request."""
        task = asyncio.ensure_future(work)
        self._work = task
        return await task

    def on_connection_close(self) -> None:
        super().on_connection_close()  # a WebSocket learns there that it is closed
        self.abandon()

    def abandon(self) -> None:
        """Cancel the work, as when the client goes away, which may still be told why."""
        if not self._gone and self._work is not None:
            self._work.cancel()  # once: a second time would cut short how it ends
        self._gone = True

    def json_body(self) -> dict[str, Any]:
        """Return the request's JSON object, and an empty one for no body. Raises `InvalidRequest`."""
        if not self.request.body.strip():
            return {}
        try:
            body = json.loads(self.request.body)
        except (ValueError, RecursionError) as error:
            raise InvalidRequest(f"the body is not JSON: {error}"[:300]) from error
        if not isinstance(body, dict):
            raise InvalidRequest("the body must be a JSON object")
        return body

    def write_json(self, value: Any, status: int = 200) -> None:
        """Answer with a JSON document."""
        self.set_status(status)
        self.write_text(json.dumps(value))

    def write_text(self, document: str) -> None:
        """Answer with what is a JSON document already."""
        self.set_header("Content-Type", "application/json; charset=UTF-8")
        self.finish(document)

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        """Answer an error: a public one in its own words, any other as an id that the log has too."""
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        details: dict[str, Any] = {}
        code = http.HTTPStatus(status_code).name
        if isinstance(error, SandkastenError):
            code, message, details = error.code, error.message, dict(error.details)
            self.set_status(self.status_of(error))
            if error.retry_after is not None:
                self.set_header("Retry-After", str(error.retry_after))
            if error.status == 401:
                self.set_header("WWW-Authenticate", 'Bearer realm="sandkasten-kernels"')
        elif isinstance(error, HTTPError) and status_code < 500:
            message = (error.log_message or http.HTTPStatus(status_code).phrase) % error.args
            if status_code == 405:
                self.set_header("Allow", self.allowed_methods())
                message = f"this path knows no such method; it has {self.allowed_methods()}"
        else:
            code = "INTERNAL_ERROR"
            message = f"something went wrong here; the gateway's log has it under {self.request_id}"
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
        """Return the status that a public error is told as."""
        return error.status

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:
        """Log what is a defect of ours, with the request's id; a public error is in the access log already."""
        if isinstance(value, SandkastenError | HTTPError):
            log.debug("%s [%s]", value, self.request_id)
        else:
            log.error("request %s failed", self.request_id, exc_info=(typ, value, tb))

    def send_error(self, status_code: int = 500, **kwargs: Any) -> None:
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else None
        super().send_error(self.status_of(error) if isinstance(error, SandkastenError) else status_code, **kwargs)
