"""Gateway: starts its parts, each after what it needs, serves, and ends them in the opposite order."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tornado.netutil import bind_sockets

from ..background import BackgroundTasks
from ..config.address import parse_listen, reachable, url_host
from ..config.editor import SettingsEditor
from ..engines import Engine
from ..errors import ConfigError
from ..handlers.auth import Authenticator
from ..handlers.server import http_server
from ..handlers.services import Services
from ..pool.pool import Pool
from ..sessions.sessions import Sessions
from ..store import Store
from .checks import check_settings, find_origin_policy
from .components import Components, wired
from .data_dir import DataDir
from .live_settings import LiveSettings

if TYPE_CHECKING:
    from ..app import SandkastenApp

__all__ = ["Gateway"]


class Gateway:
    """One gateway with the settings of an application.

    Attributes
    ----------
    keeps: whether sandboxes outlive this process when it stops now.
    """

    def __init__(self, app: SandkastenApp) -> None:
        self.keeps = False
        self._app = app

    async def setup(self, stack: contextlib.AsyncExitStack) -> str:
        """Start the parts, each with its end on ``stack``; return the URL to open.

        A generated token stands in it, as Jupyter users know it; a configured key is a secret and does not.
        """
        app = self._app
        specs = check_settings(app.settings)
        for file in specs.foreign:
            app.log.warning("%s: passed over, its metadata has no 'sandkasten' (docs/kernelspecs.md)", file)
        host, port = parse_listen(app.listen)
        web = find_origin_policy(app.settings)
        _raise_file_limit()
        data = DataDir(Path(app.data_dir))
        stack.callback(data.close)
        tasks = BackgroundTasks(app.log)
        stack.push_async_callback(tasks.cleanup)
        token = app.api_key or data.token()
        app.file.salt = data.instance().encode()
        sockets = _bind(host, port)
        for sock in sockets:
            stack.callback(sock.close)

        engine = app.engine_of(data)
        stack.push_async_callback(self._stop, engine)
        store = Store(data.path / "sessions.sqlite")
        stack.callback(store.close)
        parts = wired(app, app.settings, specs, engine, store, data.path, tasks)
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
            tasks=tasks,
            metrics=parts.metrics,
        )
        server = http_server(services)
        server.add_sockets(sockets)
        stack.callback(server.stop)
        self._set_on_stop(engine, app.on_stop)
        port = sockets[0].getsockname()[1]
        stack.callback(data.withdraw)
        data.announce(f"http://{url_host(reachable(host))}:{port}{web.base_url}", token)
        name = url_host(host or "localhost")
        shown = "YOUR_API_KEY" if app.api_key else token
        return f"http://{name}:{port}{web.base_url}?token={shown}"

    async def _go_on(self, parts: Components, stack: contextlib.AsyncExitStack) -> None:
        """Set the engine up, and take over what an earlier process has left."""
        parts.sessions.setup()
        stack.push_async_callback(parts.launcher.cleanup)
        stack.push_async_callback(self._stop, parts.pool)
        stack.push_async_callback(self._stop, parts.sessions)
        stack.push_async_callback(parts.adoption.cleanup)
        engine = parts.engine
        self.keeps = True  # what is there is not destroyed by a start that fails
        parts.adoption.begin()
        self.keeps = bool(engine.left)
        self._app.log.info("checking the engine and the images")
        await engine.setup(self._app.sandbox_specs())
        if engine.swept:
            reason = "nobody owned what an earlier process had left"
            parts.events.record("removed", reason=reason, sandboxes=engine.swept)
        await parts.workspaces.setup()
        await parts.adoption.finish()
        parts.notebooks.setup()

    def _begin(self, parts: Components, stack: contextlib.AsyncExitStack) -> SettingsEditor:
        """Start what works from now on; return what changes it while it does."""
        app = self._app
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
            set_log_level=app.set_log_level,
            set_on_stop=lambda on_stop: self._set_on_stop(parts.engine, on_stop),
            on_stop=app.on_stop,
        )
        return SettingsEditor(
            app.file,
            app.settings.keys.sections,
            app.over,
            app.settings,
            live.apply,
            app.log,
            parts.engine.image_problem,
        )

    def _set_on_stop(self, engine: Engine, on_stop: str) -> None:
        """Decide what becomes of the sandboxes when the gateway is told to stop."""
        log = self._app.log
        self.keeps = on_stop == "keep" and engine.can_adopt
        if on_stop == "keep" and not self.keeps:
            log.warning("on_stop: keep: the sandboxes of this engine end with the gateway all the same")
        log.info("on_stop: %s: sandboxes are %s", *(("keep", "kept") if self.keeps else ("end", "ended")))

    async def _stop(self, part: Engine | Pool | Sessions) -> None:
        """End a part, or leave what it has to the next process."""
        await (part.leave() if self.keeps else part.cleanup())


def _bind(host: str, port: int) -> list[Any]:
    try:
        return bind_sockets(port, host)
    except OSError as error:
        way_out = "end what listens there (ss -ltnp), or choose another with --listen"
        raise ConfigError(f"listen: cannot serve at {host}:{port}: {error.strerror or error}; {way_out}") from error


def _raise_file_limit() -> None:
    """Allow as many descriptors as the system lets us: every sandbox takes about ten."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
