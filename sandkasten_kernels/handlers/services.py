"""Services: the parts of the gateway that handlers call."""

from __future__ import annotations

from dataclasses import dataclass, field

from ..background import BackgroundTasks
from ..config import Limits, SettingsEditor
from ..kernelspecs import Kernelspecs
from ..pool import Pool
from ..sessions import Executions, NotebookSessions, Sessions, WorkspaceFiles
from ..status import StatusFeed
from ..telemetry import EventLog, Metrics
from ..workspaces import Workspaces
from .auth import Authenticator
from .origins import OriginPolicy

__all__ = ["Services"]


@dataclass(frozen=True, kw_only=True)
class Services:
    """The parts of one gateway that handlers call. The gateway makes it; it is the same for all requests."""

    authenticator: Authenticator
    sessions: Sessions
    notebooks: NotebookSessions
    specs: Kernelspecs
    pool: Pool
    web: OriginPolicy
    executions: Executions
    limits: Limits
    workspaces: Workspaces
    workspace_files: WorkspaceFiles
    events: EventLog
    status: StatusFeed
    settings: SettingsEditor
    tasks: BackgroundTasks
    metrics: Metrics = field(default_factory=Metrics)
