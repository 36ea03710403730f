"""The pages: what the URL that is printed at start opens, signing in and out, and the files that pages are made of."""

from __future__ import annotations

import html
import logging
import re

from tornado.web import HTTPError

from ..errors import ForeignPage, SandkastenError, Unauthorized
from ..paths import asset_dir
from .auth import SIGNED_IN_SECONDS
from .base import Handler

__all__ = [
    "PageHandler",
    "SessionPageHandler",
    "SettingsPageHandler",
    "SignInHandler",
    "SignOutHandler",
    "StaticFileHandler",
    "StatusPageHandler",
]

log = logging.getLogger("sandkasten_kernels.pages")
_TYPES = {
    ".css": "text/css",
    ".js": "text/javascript",
    ".svg": "image/svg+xml",
    ".woff2": "font/woff2",
}
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; font-src 'self'; img-src 'self' data: blob:; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'; "
    "require-trusted-types-for 'script'; trusted-types 'none'"
)
_PAGES = re.compile(r"(?:settings|sessions/[0-9A-Za-z-]{1,64})?")
"""Where one may be led after signing in, below the base URL: to a page, not to another site."""


class _AssetHandler(Handler):
    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("Referrer-Policy", "same-origin")  # with none, a form's Origin would be "null"
        self.set_header("Cross-Origin-Opener-Policy", "same-origin")


class StaticFileHandler(_AssetHandler):
    """``GET /static/{file}``: what the pages are made of; open to all, it is in the package anyway."""

    open_to_all = True

    def get(self, name: str) -> None:
        path = asset_dir("static") / name
        if not path.is_file():
            raise HTTPError(404, "there is no such file")
        self.set_header("Content-Type", _TYPES[path.suffix])
        self.set_header("Cache-Control", "no-cache")  # kept, and asked for again by its ETag
        self.finish(path.read_bytes())


class PageHandler(_AssetHandler):
    """A page; ``file`` is its file in ``static/``. Who has not signed in gets the form for it.

    A token in the URL becomes a cookie and goes out of the address line. In a file, ``{{root}}`` is the way up to the
    base URL, and ``{{xsrf}}`` what the page sends with every change.
    """

    file = ""

    @property
    def by_browser(self) -> bool:
        """Whether a person reads the answer."""
        return "text/html" in self.request.headers.get("Accept", "")

    def get(self, *args: str) -> None:
        if self.get_query_argument("token", None) is not None:
            self.sign_in()
            self.redirect(self.request.path)
            return
        self.send_own_page()

    def send_own_page(self) -> None:
        """Answer with the handler's page."""
        self.send_page(self.file, xsrf=self.services.authenticator.xsrf_token(self.request))

    def sign_in(self) -> None:
        """Give the browser a cookie."""
        authenticator = self.services.authenticator
        self.set_cookie(
            authenticator.cookie_name,
            authenticator.new_cookie(),
            max_age=SIGNED_IN_SECONDS,
            httponly=True,
            samesite="Strict",
            secure=self.request.protocol == "https",
            path=self.services.web.base_url,
        )

    def send_page(self, name: str, **words: str) -> None:
        """Answer with a page, whose ``{{...}}`` become ``words``."""
        text = (asset_dir("static") / name).read_text()
        below = self.request.path.removeprefix(self.services.web.base_url)
        for key, value in {"root": "../" * below.count("/"), "xsrf": "", **words}.items():
            text = text.replace(f"{{{{{key}}}}}", html.escape(value))
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        self.finish(text)

    def ask_for_the_token(self, message: str = "", page: str = "") -> None:
        """Answer with the form that signs in, and leads to ``page``."""
        self.set_status(401)
        self.send_page("signin.html", message=message, page=page if _PAGES.fullmatch(page) else "")

    def write_error(self, status_code: int, **kwargs: object) -> None:
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else None  # type: ignore[index]
        if isinstance(error, SandkastenError) and error.status == 401 and self.by_browser:
            wrong = self.get_query_argument("token", None) is not None
            message = "The token in this address is not the gateway's." if wrong else ""
            self.ask_for_the_token(message, self.request.path.removeprefix(self.services.web.base_url))
        else:
            super().write_error(status_code, **kwargs)


class StatusPageHandler(PageHandler):
    """``GET /``: the status page; without the slash of the base URL one is led there."""

    file = "index.html"

    def authenticate(self) -> None:
        if self.request.path == self.services.web.base_url:
            super().authenticate()

    def get(self, *args: str) -> None:
        base_url = self.services.web.base_url
        if self.request.path != base_url:
            self.redirect(base_url + (f"?{self.request.query}" if self.request.query else ""))
            return
        super().get()


class SessionPageHandler(PageHandler):
    """``GET /sessions/{id}``: the page of one session, running or lately ended."""

    file = "session.html"

    def get(self, *args: str) -> None:
        if self.get_query_argument("token", None) is None:
            self.services.sessions.find(args[0], self.owner)
        super().get()

    def write_error(self, status_code: int, **kwargs: object) -> None:
        if status_code == 404 and self.by_browser:
            self.set_status(404)
            self.send_own_page()  # which says so itself
        else:
            super().write_error(status_code, **kwargs)


class SettingsPageHandler(PageHandler):
    """``GET /settings``: the page on which the configuration is changed."""

    file = "settings.html"


class SignInHandler(PageHandler):
    """``GET`` and ``POST /signin``: the form that takes the token, as ``token``, and leads to ``page``."""

    def authenticate(self) -> None:
        if self.request.method != "POST":
            super().authenticate()
            return
        if not self.services.web.is_trusted_page(self.request.headers):
            raise ForeignPage("one signs in on the gateway's own page only")
        authenticator = self.services.authenticator
        given = authenticator.is_token(self.get_body_argument("token", ""))
        if not given and authenticator.caller(self.request) != "token":
            log.warning("somebody at %s gave a wrong token", self.request.remote_ip)
            raise Unauthorized("That is not the token of this gateway.")

    def get(self, *args: str) -> None:
        self.redirect(self.services.web.base_url)

    def post(self) -> None:
        page = self.get_body_argument("page", "")
        self.sign_in()
        self.redirect(self.services.web.base_url + (page if _PAGES.fullmatch(page) else ""), status=303)

    def write_error(self, status_code: int, **kwargs: object) -> None:
        if status_code == 401 and self.request.method == "POST" and self.by_browser:
            self.ask_for_the_token("That is not the token of this gateway.", self.get_body_argument("page", ""))
        else:
            super().write_error(status_code, **kwargs)


class SignOutHandler(Handler):
    """``POST /signout``: the browser's cookie is taken away, and worth nothing from now on."""

    def post(self) -> None:
        authenticator = self.services.authenticator
        authenticator.sign_out(self.request)
        self.clear_cookie(authenticator.cookie_name, path=self.services.web.base_url)
        self.write_json({"ok": True})
