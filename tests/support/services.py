"""Services for a server of handlers that is tested without a gateway."""

from __future__ import annotations

import logging
from typing import Any

from sandkasten_kernels.background import BackgroundTasks
from sandkasten_kernels.handlers.auth import Authenticator
from sandkasten_kernels.handlers.origins import OriginPolicy
from sandkasten_kernels.handlers.services import Services

__all__ = ["TOKEN", "some_services"]

TOKEN = "t"


def some_services(**parts: Any) -> Services:
    """Return services of these parts, with the token `TOKEN`; any other part is None, and must not be used."""
    nothing = dict.fromkeys(
        (
            "sessions",
            "notebooks",
            "specs",
            "pool",
            "executions",
            "limits",
            "workspaces",
            "workspace_files",
            "events",
            "status",
            "settings",
        )
    )
    usual = {
        "authenticator": Authenticator(TOKEN),
        "web": OriginPolicy(),
        "tasks": BackgroundTasks(logging.getLogger(__name__)),
    }
    return Services(**{**nothing, **usual, **parts})
