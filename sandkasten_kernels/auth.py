"""Who is calling: the token, wherever a client puts it, and the browser's cookie."""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from pathlib import Path

from tornado.httputil import HTTPServerRequest

__all__ = ["COOKIE", "Authenticator", "stored_token"]

COOKIE = "sandkasten-session"
_SCHEME = re.compile(r"(?:token|bearer)\s+(\S+)\s*", re.IGNORECASE)
_SAFE_METHODS = ("GET", "HEAD")


def stored_token(path: Path) -> str:
    """Return the token kept in ``path``; made once, readable by its owner alone."""
    try:
        return path.read_text().strip()
    except FileNotFoundError:
        token = secrets.token_hex(24)
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "w") as file:
            file.write(token + "\n")
        return token


class Authenticator:
    """Knows the one token. Compares in constant time; a token never reaches a log from here."""

    def __init__(self, token: str) -> None:
        self._token = token.encode()
        self.cookie = hashlib.sha256(b"cookie:" + self._token).hexdigest()

    def allows(self, request: HTTPServerRequest) -> bool:
        """Return whether a request carries the token, or, for a safe method, the cookie.

        Looked for in ``Authorization: token X`` or ``Bearer X`` (any case), ``X-API-Key``, and ``?token=``. A cookie
        does not allow a change, because a browser sends it for every page.
        """
        given = [request.headers.get("X-API-Key", "")]
        if match := _SCHEME.fullmatch(request.headers.get("Authorization", "")):
            given.append(match[1])
        given += [value.decode("utf-8", "replace") for value in request.query_arguments.get("token", [])]
        if any(self.is_token(token) for token in given):
            return True
        return request.method in _SAFE_METHODS and "Upgrade" not in request.headers and self._has_cookie(request)

    def is_token(self, token: str) -> bool:
        """Return whether ``token`` is the token."""
        return hmac.compare_digest(token.encode(), self._token)

    def _has_cookie(self, request: HTTPServerRequest) -> bool:
        cookie = request.cookies.get(COOKIE)
        return cookie is not None and hmac.compare_digest(cookie.value.encode(), self.cookie.encode())
