"""The parts of a gateway, wired: each gets the parts that it uses. This module starts nothing."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from ..background import BackgroundTasks
from ..config import Defaults, Limits, Settings
from ..engines import Engine, SandboxSpec, find_engine
from ..kernelspecs import Kernelspec, Kernelspecs
from ..pool import Claims, Launcher, Pool, StoredRegister, sandbox_spec
from ..sessions import Executions, NotebookSessions, QuotaMonitor, SessionJournal, Sessions, WorkspaceFiles
from ..status import Gauges, HostMonitor, StatusFeed, StatusSnapshot
from ..store import Store
from ..telemetry import EventLog, Metrics
from ..workspaces import Workspaces
from .adoption import Adoption
from .checks import within
from .data_dir import DataDir
from .live_settings import session_policy

__all__ = ["Components", "engine_of", "sandbox_specs", "wired"]


@dataclass(frozen=True)
class Components:
    """The parts of one gateway, which calls `setup` and `cleanup` of those that have them, in its order."""

    tasks: BackgroundTasks
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


def engine_of(settings: Settings, data: DataDir, log: logging.Logger) -> Engine:
    """Return the engine for a data directory, not yet set up. Raises `ConfigError`."""
    engine_class = find_engine(settings.value("engine"))
    engine = engine_class(config=settings.config, log=log, instance=data.instance(), run_dir=data.run_dir)
    engine.workspaces_dir = data.path / "workspaces"
    return engine


def sandbox_specs(specs: Iterable[Kernelspec], defaults: Defaults) -> list[SandboxSpec]:
    """Return the specification of each kernelspec's sandboxes."""
    return [sandbox_spec(spec, defaults) for spec in specs]


def wired(
    settings: Settings, specs: Kernelspecs, engine: Engine, store: Store, directory: Path, log: logging.Logger
) -> Components:
    """Return the parts, not yet set up.

    Parameters
    ----------
    directory: the data directory.
    """
    config = settings.config
    tasks = BackgroundTasks(log)  # the only one; the parts take groups of it
    metrics = Metrics()
    events = EventLog(store, log, metrics)
    defaults = Defaults(config=config)
    engine.tasks = tasks.group()
    launcher = Launcher(engine, defaults, log, tasks, events, metrics)
    limits = within(Limits(config=config))
    pool = Pool(launcher, specs, limits.max_sandboxes, tasks, StoredRegister(store, log), config=config, log=log)
    workspaces = Workspaces(engine, directory, limits.min_free_disk_mb, log)
    claims = Claims(pool, launcher, workspaces)
    files = WorkspaceFiles(claims, workspaces, specs)
    policy = session_policy(settings)
    journal = SessionJournal(store, events, log, tasks.group())
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
        tasks=tasks,
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
