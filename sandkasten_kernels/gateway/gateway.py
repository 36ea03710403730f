"""Gateway: starts its parts, each after what it needs, serves, and ends them in the opposite order."""

from __future__ import annotations

import contextlib
import logging
import resource
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tornado.netutil import bind_sockets

from ..config import Configuration, SettingsEditor, parse_listen, reachable, url_host
from ..engines import Engine
from ..errors import ConfigError
from ..handlers.auth import Authenticator
from ..handlers.server import http_server
from ..handlers.services import Services
from ..images import image_warnings
from ..pool import Pool
from ..sessions import Sessions
from ..store import Store
from .checks import check_settings, find_origin_policy
from .components import Components, engine_of, sandbox_specs, wired
from .data_dir import DataDir
from .live_settings import LiveSettings

__all__ = ["Gateway"]


class Gateway:
    """One gateway.

    Parameters
    ----------
    configuration: the settings and the file that an operator may edit while the gateway serves.
    set_log_level: sets the level of the process's log, which a saved setting changes.

    Attributes
    ----------
    keeps: whether sandboxes outlive this process when it stops now.
    """

    def __init__(
        self, configuration: Configuration, log: logging.Logger, set_log_level: Callable[[int | str], None]
    ) -> None:
        self.keeps = False
        self._configuration = configuration
        self._settings = configuration.settings
        self._log = log
        self._set_log_level = set_log_level

    async def setup(self, stack: contextlib.AsyncExitStack) -> str:
        """Start the parts, register the end of each on ``stack``, and return the URL to open.

        The URL contains a generated token, as Jupyter's does, but never a configured key, which is a secret. Raises
        `ConfigError`, `EngineError`, `StoreFailed`.
        """
        settings = self._settings
        specs = check_settings(settings)
        for file in specs.foreign:
            self._log.warning("%s: ignored, its metadata has no 'sandkasten' (docs/kernelspecs.md)", file)
        host, port = parse_listen(settings.value("listen"))
        web = find_origin_policy(settings)
        _raise_file_limit()
        data = DataDir(Path(settings.value("data_dir")))
        stack.callback(data.close)
        token = settings.value("api_key") or data.token()
        # lasting, so that a page open since before a restart can still save
        self._configuration.file.salt = data.instance().encode()
        # before anything is started: a port in use must not cost the start of an engine
        sockets = _bind(host, port)
        for sock in sockets:
            stack.callback(sock.close)

        engine = engine_of(settings, data, self._log)
        # registered before its setup: a start that fails half-way is cleaned up too
        stack.push_async_callback(self._stop, engine)
        store = Store(data.path / "sessions.sqlite")
        stack.callback(store.close)
        parts = wired(settings, specs, engine, store, data.path, self._log)
        stack.push_async_callback(parts.tasks.cleanup)
        await self._go_on(parts, stack)
        editor = self._begin(parts, stack)

        services = Services(
            authenticator=Authenticator(token),
            sessions=parts.sessions,
            notebooks=parts.notebooks,
            specs=specs,
            pool=parts.pool,
            web=web,
            executions=parts.executions,
            limits=parts.limits,
            workspaces=parts.workspaces,
            workspace_files=parts.files,
            events=parts.events,
            status=parts.status,
            settings=editor,
            tasks=parts.tasks,
            metrics=parts.metrics,
        )
        server = http_server(services)
        # only now: no request may meet parts that are not set up
        server.add_sockets(sockets)
        stack.callback(server.stop)
        self._set_on_stop(engine, settings.value("on_stop"))
        port = sockets[0].getsockname()[1]
        # after the server: a client that finds the file can connect at once
        stack.callback(data.withdraw)
        data.announce(f"http://{url_host(reachable(host))}:{port}{web.base_url}", token)
        name = url_host(host or "localhost")
        shown = "YOUR_API_KEY" if settings.value("api_key") else token
        return f"http://{name}:{port}{web.base_url}?token={shown}"

    async def _go_on(self, parts: Components, stack: contextlib.AsyncExitStack) -> None:
        """Set the engine up and adopt the sandboxes that an earlier process left."""
        parts.sessions.setup()
        stack.push_async_callback(parts.launcher.cleanup)
        stack.push_async_callback(self._stop, parts.pool)
        stack.push_async_callback(self._stop, parts.sessions)
        stack.push_async_callback(parts.adoption.cleanup)
        engine = parts.engine
        self.keeps = True  # a start that fails must not destroy the sandboxes that it found
        parts.adoption.begin()
        self.keeps = bool(engine.left)
        self._log.info("checking the engine and the images")
        await engine.setup(sandbox_specs(parts.specs, parts.defaults))
        if engine.swept:
            reason = "an earlier process left them, and no session owned them"
            parts.events.record("removed", reason=reason, sandboxes=engine.swept)
        await parts.workspaces.setup()
        await parts.adoption.finish()
        parts.notebooks.setup()

    def _begin(self, parts: Components, stack: contextlib.AsyncExitStack) -> SettingsEditor:
        """Start the pool, the quota and the status feed; return the editor that changes their settings."""
        stack.push_async_callback(parts.files.cleanup)
        stack.push_async_callback(parts.executions.cleanup)
        parts.pool.setup()
        stack.push_async_callback(parts.watch.cleanup)
        parts.watch.setup()
        stack.push_async_callback(parts.status.cleanup)
        parts.status.setup()
        live = LiveSettings(
            pool=parts.pool,
            sessions=parts.sessions,
            executions=parts.executions,
            workspaces=parts.workspaces,
            watch=parts.watch,
            defaults=parts.defaults,
            limits=parts.limits,
            set_log_level=self._set_log_level,
            set_on_stop=lambda on_stop: self._set_on_stop(parts.engine, on_stop),
            on_stop=self._settings.value("on_stop"),
        )
        file = self._configuration.file
        return SettingsEditor(
            self._configuration,
            check=check_settings,
            warnings_of=lambda settings: image_warnings(settings, parts.engine.image_problem, file.option),
            apply=live.apply,
            log=self._log,
        )

    def _set_on_stop(self, engine: Engine, on_stop: str) -> None:
        """Decide whether the sandboxes outlive a stop of the gateway."""
        self.keeps = on_stop == "keep" and engine.can_adopt
        if on_stop == "keep" and not self.keeps:
            self._log.warning("on_stop: keep: this engine cannot keep sandboxes; they end with the gateway")
        self._log.info("on_stop: %s: sandboxes are %s", *(("keep", "kept") if self.keeps else ("end", "ended")))

    async def _stop(self, part: Engine | Pool | Sessions) -> None:
        """End a part, or leave its sandboxes to the next process."""
        await (part.leave() if self.keeps else part.cleanup())


def _bind(host: str, port: int) -> list[Any]:
    try:
        return bind_sockets(port, host)
    except OSError as error:
        way_out = "stop the process that listens there (ss -ltnp), or choose another address with --listen"
        raise ConfigError(f"listen: cannot serve at {host}:{port}: {error.strerror or error}; {way_out}") from error


def _raise_file_limit() -> None:
    """Raise the limit of open descriptors to the hard limit: every sandbox takes about ten."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
