"""OriginPolicy: the base URL, the reverse proxy, and the foreign origins whose pages may call the gateway."""

from __future__ import annotations

import re

from tornado.httputil import HTTPHeaders

from ..errors import ConfigError

__all__ = ["OriginPolicy"]

_BASE_URL = re.compile(r"(?:/(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._~-]+)*")
_ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://[^/?#@\s]+", re.IGNORECASE)
_DEFAULT_PORTS = {"http": ":80", "https": ":443"}
_ALLOWED_HEADERS = (
    "Accept, Authorization, Cache-Control, Content-Type, Last-Event-ID, X-API-Key, X-Requested-With, X-XSRFToken"
)
_EXPOSED_HEADERS = "Location, Retry-After, X-Request-Id"
_PREFLIGHT_SECONDS = 600


class OriginPolicy:
    """Builds paths, checks the origins of requests, and makes CORS headers. Raises `ConfigError` for invalid settings.

    Parameters
    ----------
    base_url: the path in front of every route, as in ``/`` or ``/sandkasten/``; slashes at its ends are optional.
    trust_proxy: use the headers ``X-Forwarded-*``, which a trusted proxy sets; else they are ignored.
    allow_origin: the foreign origin whose pages may call the gateway; ``*`` for any, empty for none.
    allow_credentials: those pages may also send the browser's cookie.
    """

    def __init__(
        self,
        *,
        base_url: str = "/",
        trust_proxy: bool = False,
        allow_origin: str = "",
        allow_credentials: bool = False,
    ) -> None:
        self.prefix = "/" + base_url.strip("/") if base_url.strip("/") else ""
        if not _BASE_URL.fullmatch(self.prefix):
            raise ConfigError(f"base_url: expected a path as in /sandkasten/, got {base_url[:80]!r}")
        if allow_origin not in ("", "*") and not _ORIGIN.fullmatch(allow_origin):
            raise ConfigError(
                f"allow_origin: expected an origin as in https://lab.example.org, '*' or nothing, "
                f"got {allow_origin[:80]!r}"
            )
        if allow_credentials and allow_origin in ("", "*"):
            problem = "every page of the web could act as a signed-in user" if allow_origin else "there is no origin"
            raise ConfigError(f"allow_credentials: with allow_origin {allow_origin!r} {problem}; name one origin")
        self.trust_proxy = trust_proxy
        self._allowed = _plain(allow_origin)
        self._credentials = allow_credentials

    @property
    def base_url(self) -> str:
        """The path of the status page, with a slash at both ends."""
        return self.prefix + "/"

    def path(self, path: str) -> str:
        """Return the path of a route below the base URL: ``/sandkasten/api`` for ``/api``."""
        return self.prefix + path

    def accepts(self, headers: HTTPHeaders) -> bool:
        """Return whether a WebSocket may be opened: by no page, by a page of the gateway or of `allow_origin`."""
        # programs send neither Origin nor Sec-Fetch-Site
        origin = headers.get("Origin")
        if origin is None:
            return headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")
        return self._is_allowed(origin) or self._is_ours(origin, headers)

    def is_trusted_page(self, headers: HTTPHeaders, *, named: bool = False) -> bool:
        """Return whether a cookie is accepted: from a page of the gateway, or, with credentials, of `allow_origin`.

        ``named``: refuse a request without ``Origin``.
        """
        origin = headers.get("Origin")
        if origin is None:
            return not named and headers.get("Sec-Fetch-Site", "none") in ("none", "same-origin")
        return self._is_ours(origin, headers) or (self._credentials and self._is_allowed(origin))

    def cors(self, headers: HTTPHeaders) -> dict[str, str]:
        """Return the CORS headers that let a page of `allow_origin` read an answer; {} for other pages."""
        if not self._allowed:
            return {}
        # a cache must not give one origin the answer for another
        vary = {} if self._allowed == "*" else {"Vary": "Origin"}
        origin = headers.get("Origin")
        if origin is None or not self._is_allowed(origin):
            return vary
        found = {
            **vary,
            "Access-Control-Allow-Origin": "*" if self._allowed == "*" else origin,
            "Access-Control-Expose-Headers": _EXPOSED_HEADERS,
        }
        if self._credentials:
            found["Access-Control-Allow-Credentials"] = "true"
        return found

    def preflight(self, headers: HTTPHeaders, methods: str) -> dict[str, str]:
        """Return the further headers for a preflight request; {} for a page that may not call."""
        if "Access-Control-Allow-Origin" not in self.cors(headers):
            return {}
        return {
            "Access-Control-Allow-Methods": methods,
            "Access-Control-Allow-Headers": _ALLOWED_HEADERS,
            "Access-Control-Max-Age": str(_PREFLIGHT_SECONDS),
        }

    def _is_ours(self, origin: str, headers: HTTPHeaders) -> bool:
        return _plain(origin) == _plain(f"{origin.partition('://')[0]}://{self._host(headers)}")

    def _is_allowed(self, origin: str) -> bool:
        return self._allowed == "*" or (self._allowed != "" and _plain(origin) == self._allowed)

    def _host(self, headers: HTTPHeaders) -> str:
        """Return the host that the client called: ``Host``, or the first ``X-Forwarded-Host`` of a trusted proxy."""
        forwarded = headers.get("X-Forwarded-Host", "").partition(",")[0].strip() if self.trust_proxy else ""
        return forwarded or headers.get("Host", "")


def _plain(origin: str) -> str:
    """Return an origin for comparison: in lower case, without the default port of its scheme."""
    lower = origin.lower()
    # no origin ends with NUL: nothing is removed for another scheme
    return lower.removesuffix(_DEFAULT_PORTS.get(lower.partition("://")[0], "\0"))
