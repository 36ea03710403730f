"""Who is calling: the token, wherever a client puts it, and the browser's cookie."""

from __future__ import annotations

import hashlib
import hmac
import re

from tornado.httputil import HTTPServerRequest

__all__ = ["COOKIE", "OWNER", "Authenticator"]

COOKIE = "sandkasten-session"
OWNER = "default"
"""Whoever has the one token."""

_SCHEME = re.compile(r"(?:token|bearer)\s+(\S+)\s*", re.IGNORECASE)
_SAFE_METHODS = ("GET", "HEAD")


class Authenticator:
    """Knows the one token. Compares in constant time; a token never reaches a log from here."""

    def __init__(self, token: str) -> None:
        if not token:
            raise ValueError("an empty token would let everybody in")
        self._token = token.encode()
        self.cookie = hashlib.sha256(b"cookie:" + self._token).hexdigest()

    def owner(self, request: HTTPServerRequest) -> str:
        """Return who calls, empty for nobody: a request carries the token, or, for a safe method, the cookie.

        Looked for in ``Authorization: token X`` or ``Bearer X`` (any case), ``X-API-Key``, and ``?token=``. A cookie
        does not allow a change, because a browser sends it for every page.
        """
        reads = request.method in _SAFE_METHODS and "Upgrade" not in request.headers
        return OWNER if self._has_token(request) or (reads and self._has_cookie(request)) else ""

    def permissions(self, request: HTTPServerRequest) -> frozenset[str]:
        """Return the actions that an allowed caller may take, on everything: with the cookie it may only read."""
        return frozenset({"read", "write", "execute"} if self._has_token(request) else {"read"})

    def identity(self, request: HTTPServerRequest) -> dict[str, str | None]:
        """Return who calls, with the fields of a Jupyter user; whoever has the one token is its owner."""
        names = dict.fromkeys(("username", "name", "display_name"), "owner")
        return {**names, "initials": None, "avatar_url": None, "color": None}

    def is_token(self, token: str) -> bool:
        """Return whether ``token`` is the token."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self._token)

    def _has_token(self, request: HTTPServerRequest) -> bool:
        given = request.headers.get_list("X-API-Key")
        if match := _SCHEME.fullmatch(request.headers.get("Authorization", "")):
            given.append(match[1])
        given += [value.decode("utf-8", "replace") for value in request.query_arguments.get("token", [])]
        return any(self.is_token(token) for token in given)

    def _has_cookie(self, request: HTTPServerRequest) -> bool:
        cookie = request.cookies.get(COOKIE)
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), self.cookie.encode())
