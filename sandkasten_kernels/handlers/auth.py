"""Authenticator: recognizes a caller by the token, or by the cookie of a signed-in browser."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from typing import Literal

from tornado.httputil import HTTPServerRequest
from tornado.web import create_signed_value, decode_signed_value

__all__ = ["SIGNED_IN_SECONDS", "XSRF_HEADER", "Authenticator", "Means"]

SIGNED_IN_DAYS = 30
SIGNED_IN_SECONDS = SIGNED_IN_DAYS * 24 * 3600
XSRF_HEADER = "X-XSRFToken"

Means = Literal["token", "cookie", ""]
"""How a caller is authenticated; empty for a caller who is not."""

_SCHEME = re.compile(r"(?:token|bearer)\s+(\S+)\s*", re.IGNORECASE)
_MAX_SIGNED_OUT = 10_000


class Authenticator:
    """Checks the one token, and makes and checks cookies. Compares in constant time, and never logs a token.

    A cookie is a signed value of Tornado: a time, a random name, and a signature with a key derived from the token. It
    is valid through restarts of the gateway, and ends when the token changes. Signed-out cookies are remembered until
    this process ends.

    Raises `ValueError` for an empty token.
    """

    def __init__(self, token: str) -> None:
        if not token:
            raise ValueError("the token must not be empty: everybody would have access")
        self._token = token.encode()
        self._key = hashlib.sha256(b"cookie:" + self._token).digest()
        self._signed_out: dict[str, int] = {}
        self._open: dict[str, set[Callable[[], None]]] = {}
        self.cookie_name = f"sandkasten-{self._sign('name')[:8]}"
        """Differs for each token: a browser sends the cookies of one port of a host to all its other ports too."""

    def caller(self, request: HTTPServerRequest) -> Means:
        """Return how the caller of a request is authenticated; a token has priority over a cookie.

        The token may be in ``Authorization: token X`` or ``Bearer X`` (any case), ``X-API-Key``, and ``?token=``.
        """
        if self._has_token(request):
            return "token"
        return "cookie" if self._name_in(request) else ""

    def permissions(self) -> frozenset[str]:
        """Return the actions that every authenticated caller may take, on every resource."""
        return frozenset({"read", "write", "execute"})

    def identity(self) -> dict[str, str | None]:
        """Return the caller with the fields of a Jupyter user; the one token belongs to the one owner."""
        names = dict.fromkeys(("username", "name", "display_name"), "owner")
        return {**names, "initials": None, "avatar_url": None, "color": None}

    def is_token(self, token: str) -> bool:
        """Return whether ``token`` is the token."""
        # bytes: compare_digest takes only ASCII in strings
        return hmac.compare_digest(token.encode("utf-8", "replace"), self._token)

    def new_cookie(self) -> str:
        """Return the value of a new cookie, valid for `SIGNED_IN_SECONDS`, for a caller who has sent the token."""
        return create_signed_value(self._key, self.cookie_name, secrets.token_hex(16)).decode()

    def sign_out(self, request: HTTPServerRequest) -> None:
        """Revoke the request's cookie and call what `until_sign_out` registered for it; no-op without a cookie."""
        if (name := self._name_in(request)) is not None:
            now = time.time()
            for old in [old for old, end in self._signed_out.items() if end < now]:
                del self._signed_out[old]
            # a caller with the token can sign in and out in a loop: the memory stays bounded
            while len(self._signed_out) >= _MAX_SIGNED_OUT:
                del self._signed_out[next(iter(self._signed_out))]
            self._signed_out[name] = int(now) + SIGNED_IN_SECONDS
            for end in self._open.pop(name, set()):
                end()

    def until_sign_out(self, request: HTTPServerRequest, end: Callable[[], None]) -> Callable[[], None]:
        """Register ``end`` to be called when the request's cookie is revoked; return a callback that cancels this.

        No-op for a request with the token, which cannot sign out.
        """
        name = None if self._has_token(request) else self._name_in(request)
        if name is None:
            return lambda: None
        ends = self._open.setdefault(name, set())
        ends.add(end)

        def forget() -> None:
            ends.discard(end)
            if not ends:
                self._open.pop(name, None)

        return forget

    def xsrf_token(self, request: HTTPServerRequest) -> str:
        """Return the value that a page must send as `XSRF_HEADER` with each change; empty without a cookie."""
        name = self._name_in(request)
        return self._sign("xsrf", name) if name else ""

    def has_xsrf_token(self, request: HTTPServerRequest) -> bool:
        """Return whether a request with a cookie sends its `xsrf_token`, which no foreign page can know."""
        expected = self.xsrf_token(request)
        given = request.headers.get(XSRF_HEADER, "")
        # without a cookie both are empty, which must not count as equal
        return bool(expected) and hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())

    def _has_token(self, request: HTTPServerRequest) -> bool:
        given = request.headers.get_list("X-API-Key")
        if match := _SCHEME.fullmatch(request.headers.get("Authorization", "")):
            given.append(match[1])
        given += [value.decode("utf-8", "replace") for value in request.query_arguments.get("token", [])]
        return any(self.is_token(token) for token in given)

    def _name_in(self, request: HTTPServerRequest) -> str | None:
        """Return the random name in a request's cookie; None for no valid cookie."""
        cookie = request.cookies.get(self.cookie_name)
        if cookie is None:
            return None
        # Version 1 of Tornado's format is signed by SHA-1.
        found = decode_signed_value(
            self._key, self.cookie_name, cookie.value, max_age_days=SIGNED_IN_DAYS, min_version=2
        )
        name = found.decode() if found else None
        return None if name in self._signed_out else name

    def _sign(self, *parts: str) -> str:
        return hmac.new(self._key, ":".join(parts).encode(), hashlib.sha256).hexdigest()
