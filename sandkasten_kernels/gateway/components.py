"""What a gateway is made of: every part is given those that it uses. Nothing is started here, and nothing asked."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from traitlets.config import Application

from ..background import BackgroundTasks
from ..config.settings import Settings
from ..config.traits import Defaults, Limits
from ..engines import Engine
from ..kernelspecs.kernelspec import Kernelspecs
from ..pool.claims import Claims
from ..pool.launcher import Launcher
from ..pool.pool import Pool
from ..pool.register import StoredRegister
from ..sessions.executions import Executions
from ..sessions.journal import SessionJournal
from ..sessions.notebooks import NotebookSessions
from ..sessions.quota import QuotaMonitor
from ..sessions.sessions import Sessions
from ..sessions.workspace_files import WorkspaceFiles
from ..status.feed import StatusFeed
from ..status.gauges import Gauges
from ..status.host import HostMonitor
from ..status.snapshot import StatusSnapshot
from ..store import Store
from ..telemetry.events import EventLog
from ..telemetry.metrics import Metrics
from ..workspaces.workspaces import Workspaces
from .adoption import Adoption
from .checks import within
from .live_settings import session_policy

__all__ = ["Components", "wired"]


@dataclass(frozen=True)
class Components:
    """The parts of one gateway. Those with `setup` and `cleanup` are started and ended by it, in its order."""

    specs: Kernelspecs
    engine: Engine
    defaults: Defaults
    limits: Limits
    metrics: Metrics
    events: EventLog
    launcher: Launcher
    pool: Pool
    workspaces: Workspaces
    files: WorkspaceFiles
    sessions: Sessions
    executions: Executions
    adoption: Adoption
    notebooks: NotebookSessions
    watch: QuotaMonitor
    status: StatusFeed


def wired(
    app: Application,
    settings: Settings,
    specs: Kernelspecs,
    engine: Engine,
    store: Store,
    directory: Path,
    tasks: BackgroundTasks,
) -> Components:
    """Return the parts.

    Parameters
    ----------
    app: gives them its configuration and its log.
    directory: the data directory.
    tasks: each part that runs in the background gets a group of them.
    """
    log = app.log
    metrics = Metrics()
    tasks = BackgroundTasks(log)
    events = EventLog(store, log, metrics)
    defaults = Defaults(parent=app)
    launcher = Launcher(engine, defaults, log, tasks, events, metrics)
    limits = within(Limits(parent=app))
    pool = Pool(launcher, specs, limits.max_sandboxes, tasks, StoredRegister(store, log), parent=app)
    workspaces = Workspaces(engine, directory, limits.min_free_disk_mb, log)
    claims = Claims(pool, launcher, workspaces)
    files = WorkspaceFiles(claims, workspaces, specs)
    policy = session_policy(settings)
    journal = SessionJournal(store, events, log)
    sessions = Sessions(pool, launcher, specs, store, claims, policy, journal, metrics)
    executions = Executions(
        max_concurrent=limits.max_concurrent_execs,
        max_timeout_ms=defaults.max_exec_timeout_ms,
        tasks=tasks.group(),
        metrics=metrics,
    )
    metrics.registry.register(Gauges(metrics, pool, sessions, executions, directory, tasks.failures))
    snapshot = StatusSnapshot(sessions, pool, engine, HostMonitor(directory), metrics.activity)
    return Components(
        specs=specs,
        engine=engine,
        defaults=defaults,
        limits=limits,
        metrics=metrics,
        events=events,
        launcher=launcher,
        pool=pool,
        workspaces=workspaces,
        files=files,
        sessions=sessions,
        executions=executions,
        adoption=Adoption(store, engine, launcher, pool, sessions, journal, workspaces, specs, log, tasks),
        notebooks=NotebookSessions(sessions, store, log),
        watch=QuotaMonitor(sessions, engine, limits.workspace_mb, log, tasks.group()),
        status=StatusFeed(snapshot.take, metrics.activity, tasks.group()),
    )
