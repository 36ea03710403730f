"""Workspace: a named one and its files, without a session."""

from __future__ import annotations

from urllib.parse import quote

from .api import Api
from .errors import WorkspaceNotFound
from .files import Files
from .infos import WorkspaceInfo

__all__ = ["Workspace", "workspace_infos"]


class Workspace(Files):
    """A named workspace; it is made by the first session that asks for it."""

    def __init__(self, api: Api, workspace_id: str) -> None:
        super().__init__(api, f"/v1/workspaces/{quote(workspace_id, safe='')}")
        self._id = workspace_id

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._id}>"

    @property
    def id(self) -> str:
        """The workspace's name."""
        return self._id

    async def info(self) -> WorkspaceInfo:
        """Return what is known of it. Raises `WorkspaceNotFound`."""
        for info in await workspace_infos(self._api):
            if info.id == self._id:
                return info
        raise WorkspaceNotFound(404, "WORKSPACE_NOT_FOUND", f"there is no workspace {self._id!r}")

    async def delete(self) -> None:
        """Remove it with its files. Raises `WorkspaceInUse` while a session has it, and `WorkspaceNotFound`."""
        await self._api.ask("DELETE", self._path)


async def workspace_infos(api: Api) -> list[WorkspaceInfo]:
    """Return all named workspaces."""
    return [WorkspaceInfo.of(entry) for entry in (await api.ask("GET", "/v1/workspaces", again=True))["workspaces"]]
