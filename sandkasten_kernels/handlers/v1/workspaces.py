"""``/v1/workspaces``: list named workspaces, delete one, and use its files."""

from __future__ import annotations

from . import downloads as v1_downloads
from . import files as v1_files
from .base import V1Handler

__all__ = ["FILE_ROUTES", "WorkspaceHandler", "WorkspacesHandler"]


class WorkspacesHandler(V1Handler):
    """``GET /v1/workspaces``: the workspaces, each with the sessions that use it."""

    async def get(self) -> None:
        self.write_json({"workspaces": await self.services.workspaces.models()})


class WorkspaceHandler(V1Handler):
    """``DELETE /v1/workspaces/{id}``: answers when the files are deleted."""

    async def delete(self, name: str) -> None:
        await self.services.workspace_files.delete(name)
        self.write_json({"ok": True})


def _of_workspace(handler: type[V1Handler]) -> type[V1Handler]:
    """Return a session's handler for files as the handler for the same path of a workspace."""
    return type(handler.__name__, (handler,), {"of_workspace": True, "__doc__": handler.__doc__})


FILE_ROUTES = {
    path: _of_workspace(handler)
    for path, handler in {
        "fs": v1_files.DirectoryHandler,
        "fs/write": v1_files.WriteHandler,
        "fs/mkdir": v1_files.MakeDirectoryHandler,
        "fs/read": v1_downloads.ReadHandler,
        "fs/download": v1_downloads.DownloadHandler,
        "fs/upload": v1_files.UploadHandler,
        "fs/unpack": v1_files.UnpackHandler,
    }.items()
}
"""The routes ``/v1/workspaces/{id}/fs...``: the files of a workspace, without a session."""
