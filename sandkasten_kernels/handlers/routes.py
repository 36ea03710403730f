"""URL routes, and the application that serves them."""

from __future__ import annotations

import re
from typing import Any

from tornado.web import Application

from .api import channels, kernels, me
from .api import sessions as notebooks
from .base import Handler, log_request
from .bodies import BoundedApplication
from .health import HealthHandler, NotFoundHandler
from .metrics import MetricsHandler
from .pages import (
    SessionPageHandler,
    SettingsPageHandler,
    SignInHandler,
    SignOutHandler,
    StaticFileHandler,
    StatusPageHandler,
)
from .services import Services
from .v1 import control, downloads, events, files, sessions, settings, status, watch, workspaces
from .v1.exec import ExecHandler, ExecStreamHandler

__all__ = ["ROUTES", "application"]

PING_SECONDS = 30
MAX_MESSAGE_BYTES = 64 * 1024 * 1024

PAGES: list[tuple[str, type[Handler]]] = [
    (r"/", StatusPageHandler),
    (r"/sessions/([^/]+)", SessionPageHandler),
    (r"/settings", SettingsPageHandler),
    (r"/signin", SignInHandler),
    (r"/signout", SignOutHandler),
    (r"/static/((?:vendor/)?[a-z-]+\.(?:css|js|svg|woff2))", StaticFileHandler),
]

OPERATION: list[tuple[str, type[Handler]]] = [
    (r"/healthz", HealthHandler),
    (r"/metrics", MetricsHandler),
]

JUPYTER: list[tuple[str, type[Handler]]] = [
    (r"/api/?", kernels.VersionHandler),
    (r"/api/status", kernels.StatusHandler),
    (r"/api/me", me.MeHandler),
    (r"/api/kernelspecs", kernels.KernelspecsHandler),
    (r"/api/kernelspecs/([^/]+)", kernels.KernelspecHandler),
    (r"/kernelspecs/([^/]+)/([^/]+)", kernels.KernelspecResourceHandler),
    (r"/api/kernels", kernels.KernelsHandler),
    (r"/api/kernels/([^/]+)", kernels.KernelHandler),
    (r"/api/kernels/([^/]+)/restart", kernels.KernelRestartHandler),
    (r"/api/kernels/([^/]+)/interrupt", kernels.KernelInterruptHandler),
    (r"/api/kernels/([^/]+)/channels", channels.ChannelsHandler),
    (r"/api/sessions", notebooks.NotebookSessionsHandler),
    (r"/api/sessions/([^/]+)", notebooks.NotebookSessionHandler),
]

V1: list[tuple[str, type[Handler]]] = [
    (r"/v1/sessions", sessions.SessionsHandler),
    (r"/v1/sessions/([^/]+)", sessions.SessionHandler),
    (r"/v1/sessions/([^/]+)/stats", sessions.SessionStatsHandler),
    (r"/v1/sessions/([^/]+)/interrupt", control.InterruptHandler),
    (r"/v1/sessions/([^/]+)/restart", control.RestartHandler),
    (r"/v1/sessions/([^/]+)/extend", control.ExtendHandler),
    (r"/v1/sessions/([^/]+)/exec", ExecHandler),
    (r"/v1/sessions/([^/]+)/exec/stream", ExecStreamHandler),
    (r"/v1/sessions/([^/]+)/watch", watch.WatchHandler),
    (r"/v1/sessions/([^/]+)/fs", files.DirectoryHandler),
    (r"/v1/sessions/([^/]+)/fs/write", files.WriteHandler),
    (r"/v1/sessions/([^/]+)/fs/mkdir", files.MakeDirectoryHandler),
    (r"/v1/sessions/([^/]+)/fs/read", downloads.ReadHandler),
    (r"/v1/sessions/([^/]+)/fs/download", downloads.DownloadHandler),
    (r"/v1/sessions/([^/]+)/fs/upload", files.UploadHandler),
    (r"/v1/sessions/([^/]+)/fs/unpack", files.UnpackHandler),
    (r"/v1/events", events.EventsHandler),
    (r"/v1/settings", settings.SettingsHandler),
    (r"/v1/status", status.StatusFeedHandler),
    (r"/v1/workspaces", workspaces.WorkspacesHandler),
    (r"/v1/workspaces/([^/]+)", workspaces.WorkspaceHandler),
    *((rf"/v1/workspaces/([^/]+)/{path}", handler) for path, handler in workspaces.FILE_ROUTES.items()),
]

ROUTES = [*PAGES, *OPERATION, *JUPYTER, *V1]


def application(services: Services, *, idle_seconds: float) -> Application:
    """Return the Tornado application. Every route is below the base URL; any other path is answered with 404.

    ``idle_seconds``: how long a client may pause while a body or an answer is streamed.
    """
    arguments: dict[str, Any] = {"services": services}
    prefix = re.escape(services.web.prefix)
    routes = [(prefix + path, handler, arguments) for path, handler in ROUTES]
    if prefix:
        routes.append((prefix, StatusPageHandler, arguments))
    return BoundedApplication(
        routes,
        web=services.web,
        idle_seconds=idle_seconds,
        is_known=services.authenticator.caller,
        default_handler_class=NotFoundHandler,
        default_handler_args=arguments,
        log_function=log_request,
        route_names={handler: _name(path) for path, handler in ROUTES},
        websocket_ping_interval=PING_SECONDS,
        # A slow reader answers a ping only after all that it has not read yet; TCP finds out who is gone.
        websocket_ping_timeout=0,
        websocket_max_message_size=MAX_MESSAGE_BYTES,
    )


def _name(pattern: str) -> str:
    """Return a route's name in the metrics: ``/v1/sessions/{id}``."""
    return re.sub(r"\(.*?\)+", "{id}", pattern).removesuffix("?")
