"""LiveSettings: gives the parts of a running gateway the settings that change at once."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from traitlets import HasTraits

from ..config import Defaults, Limits, Settings
from ..pool import Pool
from ..sessions import Executions, QuotaMonitor, SessionPolicy, Sessions
from ..workspaces import Workspaces
from .checks import within

__all__ = ["LiveSettings", "session_policy"]

_SANDBOX = ("cpu_limit", "mem_limit_mb", "pids_limit", "readonly_rootfs")
_POOL = ("enabled", "images", "max_starting", "refill_delay_seconds")
_POLICY = {
    "ttl_seconds": "session_ttl_seconds",
    "kernel_ttl_seconds": "kernel_ttl_seconds",
    "max_lifetime_seconds": "max_lifetime_seconds",
    "cull_connected": "cull_connected",
    "cull_busy": "cull_busy",
    "retention_seconds": "retention_seconds",
    "max_per_owner": "limits.max_sessions_per_owner",
    "env_names": "env_names",
    "persist_by_default": "workspace.persist_by_default",
}


def session_policy(settings: Settings) -> SessionPolicy:
    """Return the settings of sessions."""
    values: dict[str, Any] = {name: settings.value(*key.split(".")) for name, key in _POLICY.items()}
    return SessionPolicy(**{**values, "env_names": frozenset(values["env_names"])})


class LiveSettings:
    """Applies saved settings to the parts of a running gateway.

    Parameters
    ----------
    defaults, limits: the objects that launcher and handlers share; `apply` changes them in place.
    """

    def __init__(
        self,
        *,
        pool: Pool,
        sessions: Sessions,
        executions: Executions,
        workspaces: Workspaces,
        watch: QuotaMonitor,
        defaults: Defaults,
        limits: Limits,
        set_log_level: Callable[[int | str], None],
        set_on_stop: Callable[[str], None],
        on_stop: str,
    ) -> None:
        self._pool = pool
        self._sessions = sessions
        self._executions = executions
        self._workspaces = workspaces
        self._watch = watch
        self._defaults = defaults
        self._limits = limits
        self._set_log_level = set_log_level
        self._set_on_stop = set_on_stop
        self._on_stop = on_stop

    def apply(self, settings: Settings) -> None:
        """Apply every setting with the tag ``applies``; unchanged ones have no effect."""
        self._set_log_level(settings.value("log_level"))
        if (on_stop := settings.value("on_stop")) != self._on_stop:
            self._set_on_stop(on_stop)
            self._on_stop = on_stop
        self._sessions.policy = session_policy(settings)
        reserve = self._limits.host_reserve_mb  # the engine keeps its value until a restart
        limits = within(Limits(**{**_values(settings, "limits", Limits), "host_reserve_mb": reserve}))
        for name in Limits.class_own_traits(config=True):
            setattr(self._limits, name, getattr(limits, name))
        self._executions.max_concurrent = limits.max_concurrent_execs
        self._executions.max_timeout_ms = settings.value("defaults", "max_exec_timeout_ms")
        self._workspaces.min_free_mb = limits.min_free_disk_mb
        self._watch.limit_mb = limits.workspace_mb
        other = {name: value for name in _SANDBOX if (value := settings.value("defaults", name)) != self._of(name)}
        for name, value in other.items():
            setattr(self._defaults, name, value)
        for name in _POOL:
            setattr(self._pool, name, settings.value("pool", name))
        self._pool.resize(limits.max_sandboxes)
        # only for a real change: it replaces every warm sandbox
        if other:
            self._pool.renew()

    def _of(self, name: str) -> Any:
        return getattr(self._defaults, name)


def _values(settings: Settings, section: str, owner: type[HasTraits]) -> dict[str, Any]:
    return {name: settings.value(section, name) for name in owner.class_own_traits(config=True)}
