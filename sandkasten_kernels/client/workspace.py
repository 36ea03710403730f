"""Workspace: a named workspace and its files, without a session."""

from __future__ import annotations

from urllib.parse import quote

from .api import Api
from .errors import WorkspaceNotFound
from .files import Files
from .infos import WorkspaceInfo

__all__ = ["Workspace", "workspace_infos"]


class Workspace(Files):
    """A named workspace. The first session that names it creates it."""

    def __init__(self, api: Api, workspace_id: str) -> None:
        super().__init__(api, f"/v1/workspaces/{quote(workspace_id, safe='')}")
        self._id = workspace_id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._id}>"

    @property
    def id(self) -> str:
        """The name of the workspace."""
        return self._id

    async def info(self) -> WorkspaceInfo:
        """Return the properties of the workspace. Raises `WorkspaceNotFound`."""
        for info in await workspace_infos(self._api):
            if info.id == self._id:
                return info
        raise WorkspaceNotFound(404, "WORKSPACE_NOT_FOUND", f"there is no workspace {self._id!r}")

    async def delete(self) -> None:
        """Delete the workspace with its files. Raises `WorkspaceInUse` while a session uses it, `WorkspaceNotFound`."""
        await self._api.ask("DELETE", self._path)


async def workspace_infos(api: Api) -> list[WorkspaceInfo]:
    """Return all named workspaces."""
    return [WorkspaceInfo.of(entry) for entry in (await api.ask("GET", "/v1/workspaces", again=True))["workspaces"]]
