"""Claimed kernels and their life."""

from .executions import Executions
from .journal import SessionJournal
from .lifetime import FOR_EVER
from .notebooks import NotebookSessions
from .policy import SessionPolicy
from .quota import QuotaMonitor
from .request import SessionRequest, environment, jupyter_request
from .session import OWNER, Session
from .sessions import Sessions
from .views import info, kernel_model
from .workspace_files import WorkspaceFiles

__all__ = [
    "FOR_EVER",
    "OWNER",
    "Executions",
    "NotebookSessions",
    "QuotaMonitor",
    "Session",
    "SessionJournal",
    "SessionPolicy",
    "SessionRequest",
    "Sessions",
    "WorkspaceFiles",
    "environment",
    "info",
    "jupyter_request",
    "kernel_model",
]
