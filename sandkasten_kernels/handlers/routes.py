"""Which path is whose."""

from __future__ import annotations

import re
from typing import Any

from tornado.web import Application

from .api.channels import Channels
from .api.kernels import (
    Kernel,
    KernelInterrupt,
    KernelRestart,
    Kernels,
    Kernelspec,
    KernelspecResource,
    Kernelspecs,
    Status,
    Version,
)
from .api.me import Me
from .api.sessions import NotebookSession, NotebookSessions
from .base import Handler, Health, NotFound, Services, log_request
from .bodies import BoundedApplication
from .metrics import Metrics
from .pages import SessionPage, SettingsPage, SignIn, SignOut, StaticFile, StatusPage
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
    (r"/", StatusPage),
    (r"/sessions/([^/]+)", SessionPage),
    (r"/settings", SettingsPage),
    (r"/signin", SignIn),
    (r"/signout", SignOut),
    (r"/static/((?:vendor/)?[a-z-]+\.(?:css|js|svg|woff2))", StaticFile),
    (r"/healthz", Health),
    (r"/metrics", Metrics),
    (r"/api/?", Version),
    (r"/api/status", Status),
    (r"/api/me", Me),
    (r"/api/kernelspecs", Kernelspecs),
    (r"/api/kernelspecs/([^/]+)", Kernelspec),
    (r"/kernelspecs/([^/]+)/([^/]+)", KernelspecResource),
    (r"/api/kernels", Kernels),
    (r"/api/kernels/([^/]+)", Kernel),
    (r"/api/kernels/([^/]+)/restart", KernelRestart),
    (r"/api/kernels/([^/]+)/interrupt", KernelInterrupt),
    (r"/api/kernels/([^/]+)/channels", Channels),
    (r"/v1/sessions", v1.Sessions),
    (r"/v1/sessions/([^/]+)", v1.Session),
    (r"/v1/sessions/([^/]+)/stats", v1.SessionStats),
    (r"/v1/sessions/([^/]+)/interrupt", v1_control.Interrupt),
    (r"/v1/sessions/([^/]+)/restart", v1_control.Restart),
    (r"/v1/sessions/([^/]+)/extend", v1_control.Extend),
    (r"/v1/sessions/([^/]+)/exec", v1.Exec),
    (r"/v1/sessions/([^/]+)/exec/stream", v1.ExecStream),
    (r"/v1/sessions/([^/]+)/watch", v1_watch.Watch),
    (r"/v1/sessions/([^/]+)/fs", v1_files.Directory),
    (r"/v1/sessions/([^/]+)/fs/write", v1_files.Write),
    (r"/v1/sessions/([^/]+)/fs/mkdir", v1_files.MakeDirectory),
    (r"/v1/sessions/([^/]+)/fs/read", v1_downloads.Read),
    (r"/v1/sessions/([^/]+)/fs/download", v1_downloads.Download),
    (r"/v1/sessions/([^/]+)/fs/upload", v1_files.Upload),
    (r"/v1/sessions/([^/]+)/fs/unpack", v1_files.Unpack),
    (r"/v1/events", v1_events.Events),
    (r"/v1/settings", v1_settings.Settings),
    (r"/v1/status", v1_status.Status),
    (r"/v1/workspaces", v1_workspaces.Workspaces),
    (r"/v1/workspaces/([^/]+)", v1_workspaces.Workspace),
    *((rf"/v1/workspaces/([^/]+)/{path}", handler) for path, handler in v1_workspaces.FILE_ROUTES.items()),
    (r"/api/sessions", NotebookSessions),
    (r"/api/sessions/([^/]+)", NotebookSession),
]


def application(services: Services, *, idle_seconds: float) -> Application:
    """Return the Tornado application, with every route under the base URL; outside of it there is nothing.

    ``idle_seconds``: how long a client may pause in the midst of what is streamed.
    """
    arguments: dict[str, Any] = {"services": services}
    prefix = re.escape(services.web.prefix)
    routes = [(prefix + path, handler, arguments) for path, handler in ROUTES]
    if prefix:
        routes.append((prefix, StatusPage, arguments))
    return BoundedApplication(
        routes,
        web=services.web,
        idle_seconds=idle_seconds,
        is_known=services.authenticator.caller,
        default_handler_class=NotFound,
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
