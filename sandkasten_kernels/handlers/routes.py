"""Which path is whose."""

from __future__ import annotations

import re
from typing import Any

from tornado.web import Application

from .api.channels import ChannelsHandler
from .api.kernels import (
    KernelHandler,
    KernelInterruptHandler,
    KernelRestartHandler,
    KernelsHandler,
    KernelspecHandler,
    KernelspecResourceHandler,
    KernelspecsHandler,
    StatusHandler,
    VersionHandler,
)
from .api.me import MeHandler
from .api.sessions import NotebookSessionHandler, NotebookSessionsHandler
from .base import Handler, HealthHandler, NotFoundHandler, Services, log_request
from .bodies import BoundedApplication
from .metrics import MetricsHandler
from .pages import (
    SessionPageHandler,
    SettingsPageHandler,
    SignInHandler,
    SignOutHandler,
    StaticFileHandler,
    StatusPageHandler,
)
from .v1 import control as v1_control
from .v1 import downloads as v1_downloads
from .v1 import events as v1_events
from .v1 import files as v1_files
from .v1 import sessions as v1
from .v1 import settings as v1_settings
from .v1 import status as v1_status
from .v1 import watch as v1_watch
from .v1 import workspaces as v1_workspaces

__all__ = ["application"]

PING_SECONDS = 30
MAX_MESSAGE_BYTES = 64 * 1024 * 1024

ROUTES: list[tuple[str, type[Handler]]] = [
    (r"/", StatusPageHandler),
    (r"/sessions/([^/]+)", SessionPageHandler),
    (r"/settings", SettingsPageHandler),
    (r"/signin", SignInHandler),
    (r"/signout", SignOutHandler),
    (r"/static/((?:vendor/)?[a-z-]+\.(?:css|js|svg|woff2))", StaticFileHandler),
    (r"/healthz", HealthHandler),
    (r"/metrics", MetricsHandler),
    (r"/api/?", VersionHandler),
    (r"/api/status", StatusHandler),
    (r"/api/me", MeHandler),
    (r"/api/kernelspecs", KernelspecsHandler),
    (r"/api/kernelspecs/([^/]+)", KernelspecHandler),
    (r"/kernelspecs/([^/]+)/([^/]+)", KernelspecResourceHandler),
    (r"/api/kernels", KernelsHandler),
    (r"/api/kernels/([^/]+)", KernelHandler),
    (r"/api/kernels/([^/]+)/restart", KernelRestartHandler),
    (r"/api/kernels/([^/]+)/interrupt", KernelInterruptHandler),
    (r"/api/kernels/([^/]+)/channels", ChannelsHandler),
    (r"/v1/sessions", v1.SessionsHandler),
    (r"/v1/sessions/([^/]+)", v1.SessionHandler),
    (r"/v1/sessions/([^/]+)/stats", v1.SessionStatsHandler),
    (r"/v1/sessions/([^/]+)/interrupt", v1_control.InterruptHandler),
    (r"/v1/sessions/([^/]+)/restart", v1_control.RestartHandler),
    (r"/v1/sessions/([^/]+)/extend", v1_control.ExtendHandler),
    (r"/v1/sessions/([^/]+)/exec", v1.ExecHandler),
    (r"/v1/sessions/([^/]+)/exec/stream", v1.ExecStreamHandler),
    (r"/v1/sessions/([^/]+)/watch", v1_watch.WatchHandler),
    (r"/v1/sessions/([^/]+)/fs", v1_files.DirectoryHandler),
    (r"/v1/sessions/([^/]+)/fs/write", v1_files.WriteHandler),
    (r"/v1/sessions/([^/]+)/fs/mkdir", v1_files.MakeDirectoryHandler),
    (r"/v1/sessions/([^/]+)/fs/read", v1_downloads.ReadHandler),
    (r"/v1/sessions/([^/]+)/fs/download", v1_downloads.DownloadHandler),
    (r"/v1/sessions/([^/]+)/fs/upload", v1_files.UploadHandler),
    (r"/v1/sessions/([^/]+)/fs/unpack", v1_files.UnpackHandler),
    (r"/v1/events", v1_events.EventsHandler),
    (r"/v1/settings", v1_settings.SettingsHandler),
    (r"/v1/status", v1_status.StatusHandler),
    (r"/v1/workspaces", v1_workspaces.WorkspacesHandler),
    (r"/v1/workspaces/([^/]+)", v1_workspaces.WorkspaceHandler),
    *((rf"/v1/workspaces/([^/]+)/{path}", handler) for path, handler in v1_workspaces.FILE_ROUTES.items()),
    (r"/api/sessions", NotebookSessionsHandler),
    (r"/api/sessions/([^/]+)", NotebookSessionHandler),
]


def application(services: Services, *, idle_seconds: float) -> Application:
    """Return the Tornado application, with every route under the base URL; outside of it there is nothing.

    ``idle_seconds``: how long a client may pause in the midst of what is streamed.
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
        route_names={handler: _in_words(path) for path, handler in ROUTES},
        websocket_ping_interval=PING_SECONDS,
        websocket_ping_timeout=0,  # a pong waits behind all that a slow reader has not read; TCP knows who is gone
        websocket_max_message_size=MAX_MESSAGE_BYTES,
    )


def _in_words(pattern: str) -> str:
    """Return a route as it stands in the figures: ``/v1/sessions/{id}``."""
    return re.sub(r"\(.*?\)+", "{id}", pattern).removesuffix("?")
