"""``/v1/workspaces``: which there are and who uses them; deleting one."""

from __future__ import annotations

from .v1 import V1Handler

__all__ = ["Workspace", "Workspaces"]


class Workspaces(V1Handler):
    """``GET /v1/workspaces``."""

    async def get(self) -> None:
        self.write_json({"workspaces": await self.services.workspaces.models()})


class Workspace(V1Handler):
    """``DELETE /v1/workspaces/{id}``: answered when its files are gone."""

    async def delete(self, name: str) -> None:
        await self.services.workspaces.delete(name)
        self.write_json({"ok": True})
