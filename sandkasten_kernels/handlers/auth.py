"""Who is calling: the token, wherever a client puts it, and the browser's cookie."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
import time
from collections.abc import Callable
from typing import Literal

from tornado.httputil import HTTPServerRequest

__all__ = ["SIGNED_IN_SECONDS", "XSRF_HEADER", "Authenticator", "Means"]

"""Whoever has the one token."""
SIGNED_IN_SECONDS = 30 * 24 * 3600
XSRF_HEADER = "X-XSRFToken"

Means = Literal["token", "cookie", ""]
"""By what a caller is known; empty: by nothing."""

_SCHEME = re.compile(r"(?:token|bearer)\s+(\S+)\s*", re.IGNORECASE)
_COOKIE = re.compile(r"([0-9]{1,12})\.([0-9a-f]{32})\.([0-9a-f]{64})")
_MAX_SIGNED_OUT = 10_000


class Authenticator:
    """Knows the one token. Compares in constant time; a token never reaches a log from here.

    A cookie is a time, a random name, and a signature by a key that is made from the token: it outlives a restart of
    the gateway and ends with the token. What signed out is remembered until this process ends.
    """

    def __init__(self, token: str) -> None:
        if not token:
            raise ValueError("an empty token would let everybody in")
        self._token = token.encode()
        self._key = hashlib.sha256(b"cookie:" + self._token).digest()
        self._signed_out: dict[str, int] = {}
        self._open: dict[str, set[Callable[[], None]]] = {}
        self.cookie_name = f"sandkasten-{self._sign('name')[:8]}"
        """Another for each token: a browser sends the cookies of all ports of a host to each of them."""

    def caller(self, request: HTTPServerRequest) -> Means:
        """Return by what a request's caller is known; a token comes before a cookie.

        A token is looked for in ``Authorization: token X`` or ``Bearer X`` (any case), ``X-API-Key``, and ``?token=``.
        """
        if self._has_token(request):
            return "token"
        return "cookie" if self._name_in(request) else ""

    def permissions(self) -> frozenset[str]:
        """Return the actions that an allowed caller may take, on everything."""
        return frozenset({"read", "write", "execute"})

    def identity(self) -> dict[str, str | None]:
        """Return who calls, with the fields of a Jupyter user; whoever has the one token is its owner."""
        names = dict.fromkeys(("username", "name", "display_name"), "owner")
        return {**names, "initials": None, "avatar_url": None, "color": None}

    def is_token(self, token: str) -> bool:
        """Return whether ``token`` is the token."""
        return hmac.compare_digest(token.encode("utf-8", "replace"), self._token)

    def new_cookie(self) -> str:
        """Return the value of a cookie for who has shown the token; it is good for `SIGNED_IN_SECONDS`."""
        content = f"{int(time.time()) + SIGNED_IN_SECONDS}.{secrets.token_hex(16)}"
        return f"{content}.{self._sign('cookie', content)}"

    def sign_out(self, request: HTTPServerRequest) -> None:
        """Make the request's cookie worth nothing; no-op without one."""
        if (name := self._name_in(request)) is not None:
            now = time.time()
            for old in [old for old, end in self._signed_out.items() if end < now]:
                del self._signed_out[old]
            while len(self._signed_out) >= _MAX_SIGNED_OUT:
                del self._signed_out[next(iter(self._signed_out))]
            self._signed_out[name] = int(now) + SIGNED_IN_SECONDS
            for end in self._open.pop(name, set()):
                end()

    def until_sign_out(self, request: HTTPServerRequest, end: Callable[[], None]) -> Callable[[], None]:
        """Call ``end`` when the request's cookie is signed out; return what ends that. Who has the token never is."""
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
        """Return what a page has to send as `XSRF_HEADER` with each change; empty for a request without a cookie."""
        name = self._name_in(request)
        return self._sign("xsrf", name) if name else ""

    def has_xsrf_token(self, request: HTTPServerRequest) -> bool:
        """Return whether a request with a cookie has the header of `xsrf_token`, which no foreign page can know."""
        expected = self.xsrf_token(request)
        given = request.headers.get(XSRF_HEADER, "")
        return bool(expected) and hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode())

    def _has_token(self, request: HTTPServerRequest) -> bool:
        given = request.headers.get_list("X-API-Key")
        if match := _SCHEME.fullmatch(request.headers.get("Authorization", "")):
            given.append(match[1])
        given += [value.decode("utf-8", "replace") for value in request.query_arguments.get("token", [])]
        return any(self.is_token(token) for token in given)

    def _name_in(self, request: HTTPServerRequest) -> str | None:
        """Return the random name in a request's cookie, None where there is none that is good."""
        cookie = request.cookies.get(self.cookie_name)
        match = _COOKIE.fullmatch(cookie.value) if cookie else None
        if match is None:
            return None
        end, name, signature = match.groups()
        signed = hmac.compare_digest(signature, self._sign("cookie", f"{end}.{name}"))
        return name if signed and int(end) > time.time() and name not in self._signed_out else None

    def _sign(self, *words: str) -> str:
        return hmac.new(self._key, ":".join(words).encode(), hashlib.sha256).hexdigest()
