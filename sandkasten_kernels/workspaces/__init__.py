"""Named workspaces, and the files in them through a guest."""

from .archives import pack, unpack
from .file_info import FileInfo
from .files import Allowance, Files, Writer, absolute, relative
from .workspaces import Lease, Workspaces

__all__ = ["Allowance", "FileInfo", "Files", "Lease", "Workspaces", "Writer", "absolute", "pack", "relative", "unpack"]
