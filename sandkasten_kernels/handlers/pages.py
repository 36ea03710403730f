"""The pages for browsers: status, session and settings, sign-in and sign-out, and their static files."""

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
"""The paths below the base URL to which signing in may redirect: pages only, never another site."""


class _AssetHandler(Handler):
    def set_default_headers(self) -> None:
        super().set_default_headers()
        self.set_header("Content-Security-Policy", _POLICY)
        self.set_header("Referrer-Policy", "same-origin")  # with no-referrer, the Origin of a form would be "null"
        self.set_header("Cross-Origin-Opener-Policy", "same-origin")


class StaticFileHandler(_AssetHandler):
    """``GET /static/{file}``: the files of the pages. Open to all: they are public in the package."""

    open_to_all = True

    def get(self, name: str) -> None:
        # the route's pattern allows no `..` and no other suffix
        path = asset_dir("static") / name
        if not path.is_file():
            raise HTTPError(404, "there is no such file")
        self.set_header("Content-Type", _TYPES[path.suffix])
        self.set_header("Cache-Control", "no-cache")  # the browser caches it, and checks its ETag each time
        self.finish(path.read_bytes())


class PageHandler(_AssetHandler):
    """A page. A browser that is not signed in gets the sign-in form instead.

    A token in the URL becomes a cookie; a redirect removes it from the address bar. ``file`` is the page's file in
    ``static/``. In it, ``{{root}}`` becomes the relative path of the base URL, and ``{{xsrf}}`` the token that the page
    sends with every change.
    """

    file = ""

    @property
    def by_browser(self) -> bool:
        """Whether a browser shows the answer to a person."""
        return "text/html" in self.request.headers.get("Accept", "")

    def get(self, *args: str) -> None:
        if self.get_query_argument("token", None) is not None:
            self.sign_in()
            self.redirect(self.request.path)
            return
        self.send_own_page()

    def send_own_page(self) -> None:
        """Answer with the page of this handler."""
        self.send_page(self.file, xsrf=self.services.authenticator.xsrf_token(self.request))

    def sign_in(self) -> None:
        """Set the cookie of a signed-in browser."""
        authenticator = self.services.authenticator
        self.set_cookie(
            authenticator.cookie_name,
            authenticator.new_cookie(),
            max_age=SIGNED_IN_SECONDS,
            httponly=True,
            # no page of another site can make the browser send the cookie
            samesite="Strict",
            # over plain http a browser would never send a secure cookie back
            secure=self.request.protocol == "https",
            path=self.services.web.base_url,
        )

    def send_page(self, name: str, **values: str) -> None:
        """Answer with a page, with each ``{{name}}`` replaced by its value, escaped."""
        text = (asset_dir("static") / name).read_text()
        below = self.request.path.removeprefix(self.services.web.base_url)
        for key, value in {"root": "../" * below.count("/"), "xsrf": "", **values}.items():
            text = text.replace(f"{{{{{key}}}}}", html.escape(value))
        self.set_header("Content-Type", "text/html; charset=UTF-8")
        self.finish(text)

    def ask_for_the_token(self, message: str = "", page: str = "") -> None:
        """Answer with the sign-in form, which redirects to ``page`` afterwards."""
        self.set_status(401)
        self.send_page("signin.html", message=message, page=page if _PAGES.fullmatch(page) else "")

    def write_error(self, status_code: int, **kwargs: object) -> None:
        error = kwargs["exc_info"][1] if "exc_info" in kwargs else None  # type: ignore[index]
        if isinstance(error, SandkastenError) and error.status == 401 and self.by_browser:
            wrong = self.get_query_argument("token", None) is not None
            message = "The token in this URL is not valid." if wrong else ""
            self.ask_for_the_token(message, self.request.path.removeprefix(self.services.web.base_url))
        else:
            super().write_error(status_code, **kwargs)


class StatusPageHandler(PageHandler):
    """``GET /``: the status page. The base URL without its slash redirects here."""

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
    """``GET /sessions/{id}``: the page of a session that runs or ended recently."""

    file = "session.html"

    def get(self, *args: str) -> None:
        # with a token the redirect comes first: no error page may keep it in the address bar
        if self.get_query_argument("token", None) is None:
            self.services.sessions.find(args[0], self.owner)
        super().get()

    def write_error(self, status_code: int, **kwargs: object) -> None:
        if status_code == 404 and self.by_browser:
            self.set_status(404)
            self.send_own_page()  # the page itself says that there is no such session
        else:
            super().write_error(status_code, **kwargs)


class SettingsPageHandler(PageHandler):
    """``GET /settings``: the page to change the configuration."""

    file = "settings.html"


class SignInHandler(PageHandler):
    """``POST /signin``: signs a browser in with the form's ``token``, and redirects to ``page``.

    ``GET`` redirects to the status page.
    """

    def authenticate(self) -> None:
        if self.request.method != "POST":
            super().authenticate()
            return
        if not self.services.web.is_trusted_page(self.request.headers):
            raise ForeignPage("signing in is allowed from the gateway's own pages only: open the gateway's URL")
        authenticator = self.services.authenticator
        given = authenticator.is_token(self.get_body_argument("token", ""))
        if not given and authenticator.caller(self.request) != "token":
            log.warning("sign-in from %s failed: wrong token", self.request.remote_ip)
            raise Unauthorized("That is not the token of this gateway.")

    def get(self, *args: str) -> None:
        self.redirect(self.services.web.base_url)

    def post(self) -> None:
        page = self.get_body_argument("page", "")
        self.sign_in()
        # 303: the browser follows with GET
        self.redirect(self.services.web.base_url + (page if _PAGES.fullmatch(page) else ""), status=303)

    def write_error(self, status_code: int, **kwargs: object) -> None:
        if status_code == 401 and self.request.method == "POST" and self.by_browser:
            self.ask_for_the_token("That is not the token of this gateway.", self.get_body_argument("page", ""))
        else:
            super().write_error(status_code, **kwargs)


class SignOutHandler(Handler):
    """``POST /signout``: revokes and deletes the browser's cookie."""

    def post(self) -> None:
        authenticator = self.services.authenticator
        authenticator.sign_out(self.request)
        self.clear_cookie(authenticator.cookie_name, path=self.services.web.base_url)
        self.write_json({"ok": True})
