"""``/api``: kernels and kernelspecs, for Jupyter clients.

Source: https://petstore.swagger.io/?url=https://raw.githubusercontent.com/jupyter-server/jupyter_server/main/jupyter_server/services/api/api.yaml
"""

from __future__ import annotations

import asyncio
import mimetypes
from typing import Any

from ... import __version__
from ...errors import InvalidRequest
from ...sessions import jupyter_request, kernel_model
from ...status import gateway_status
from ..base import Handler
from .channels import client_of

__all__ = [
    "KernelHandler",
    "KernelInterruptHandler",
    "KernelRestartHandler",
    "KernelsHandler",
    "KernelspecHandler",
    "KernelspecResourceHandler",
    "KernelspecsHandler",
    "StatusHandler",
    "VersionHandler",
]


class VersionHandler(Handler):
    """``GET /api``."""

    def get(self) -> None:
        self.write_json({"version": __version__})


class StatusHandler(Handler):
    """``GET /api/status``."""

    def get(self) -> None:
        self.write_json({**gateway_status(self.services.sessions), "pool": self.services.pool.status()})


class KernelspecsHandler(Handler):
    """``GET /api/kernelspecs``."""

    def get(self) -> None:
        models = self.services.specs.models()
        found = {name: _at(self, model) for name, model in models["kernelspecs"].items()}
        self.write_json({**models, "kernelspecs": found})


class KernelspecHandler(Handler):
    """``GET /api/kernelspecs/{name}``."""

    def get(self, name: str) -> None:
        self.write_json(_at(self, self.services.specs.get(name).model()))


class KernelspecResourceHandler(Handler):
    """``GET /kernelspecs/{name}/{file}``, a logo for instance. It needs no token, because an ``<img>`` sends none."""

    open_to_all = True

    def get(self, name: str, file: str) -> None:
        path = self.services.specs.resource(name, file)
        self.set_header("Content-Type", mimetypes.guess_type(path.name)[0] or "application/octet-stream")
        self.set_header("Cache-Control", "max-age=3600")
        self.finish(path.read_bytes())


class KernelsHandler(Handler):
    """``GET`` and ``POST /api/kernels``."""

    def get(self) -> None:
        sessions = self.services.sessions
        models = [kernel_model(session) for session in sessions if session.record.owner == self.owner]
        self.write_json(models + sessions.returning.models(self.owner))

    async def post(self) -> None:
        body = self.json_body()
        name = body.get("name")
        if not isinstance(name, str | None):
            raise InvalidRequest("name must be a string")
        try:
            request = jupyter_request(name, body.get("env"), self.services.sessions.policy.env_names)
            session = await self.unless_gone(self.services.sessions.create(request, self.owner))
        except asyncio.CancelledError:
            return  # the client left, and nothing was created
        # the cancel came too late: the kernel exists, and nobody knows its id
        if self._gone:
            self.services.sessions.end(session.id, "its client left before it had the answer", self.owner)
            return
        self.set_header("Location", self.url(f"/api/kernels/{session.id}"))
        self.write_json(kernel_model(session), status=201)


class KernelHandler(Handler):
    """``GET`` and ``DELETE /api/kernels/{id}``."""

    def get(self, kernel_id: str) -> None:
        self.write_json(kernel_model(self.services.sessions.get(kernel_id, self.owner)))

    def delete(self, kernel_id: str) -> None:
        """End a kernel of ``/api``. For a session of ``/v1`` only close this caller's connections.

        JupyterLab deletes every kernel that it knows when it exits, also those that it only attached to.
        """
        session = self.services.sessions.get(kernel_id, self.owner)
        if session.record.origin == "v1":
            session.seats.close(client_of(self.request), "the client left")
        else:
            self.services.sessions.end(kernel_id, "a client deleted it", self.owner)
        self.set_status(204)


class KernelRestartHandler(Handler):
    """``POST /api/kernels/{id}/restart``: answer when the new kernel process is ready."""

    async def post(self, kernel_id: str) -> None:
        session = self.services.sessions.get(kernel_id, self.owner)
        session.use()
        await session.kernel.restart()
        self.write_json(kernel_model(session))


class KernelInterruptHandler(Handler):
    """``POST /api/kernels/{id}/interrupt``."""

    async def post(self, kernel_id: str) -> None:
        session = self.services.sessions.get(kernel_id, self.owner)
        session.use()
        await session.kernel.interrupt()
        self.set_status(204)


def _at(handler: Handler, model: dict[str, Any]) -> dict[str, Any]:
    """Return a kernelspec's model with the URLs of its resources."""
    return {**model, "resources": {name: handler.url(path) for name, path in model["resources"].items()}}
