"""The page at ``/``: what the URL that is printed at start opens."""

from __future__ import annotations

from tornado.web import HTTPError

from ..auth import COOKIE
from ..errors import SandkastenError
from ..paths import asset_dir
from .base import Handler

__all__ = ["Index", "StaticFile"]

_TYPES = {
    ".html": "text/html; charset=UTF-8",
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class _Page(Handler):
    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("Referrer-Policy", "no-referrer")

    def send_file(self, name: str) -> None:
        """Answer with a file of ``static/``."""
        path = asset_dir("static") / name
        if not path.is_file():
            raise HTTPError(404, "there is no such file")
        self.set_header("Content-Type", _TYPES[path.suffix])
        self.finish(path.read_bytes())


class Index(_Page):
    """``GET /``: the status page; its token in the URL becomes a cookie, and goes out of the address line."""

    def authenticate(self) -> None:
        if self.request.path == self.services.web.base_url:
            super().authenticate()

    def get(self) -> None:
        base_url = self.services.web.base_url
        if self.request.path != base_url:
            self.redirect(base_url + (f"?{self.request.query}" if self.request.query else ""))
            return
        if self.get_query_argument("token", None) is not None:
            authenticator = self.services.authenticator
            secure = self.request.protocol == "https"
            self.set_cookie(
                COOKIE, authenticator.cookie, httponly=True, samesite="Strict", secure=secure, path=base_url
            )
            self.redirect(base_url)
            return
        self.send_file("index.html")

    def write_error(self, status_code: int, **kwargs: object) -> None:
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else None  # type: ignore[index]
        if (
            isinstance(error, SandkastenError)
            and error.status == 401
            and "text/html" in self.request.headers.get("Accept", "")
        ):
            self.set_status(401)
            self.send_file("signin.html")
        else:
            super().write_error(status_code, **kwargs)


class StaticFile(_Page):
    """``GET /static/{file}``: style and script of the pages; open to all, they are in the package anyway."""

    open_to_all = True

    def get(self, name: str) -> None:
        self.send_file(name)
