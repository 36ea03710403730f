"""FileRefusal: the error of a request about files, with a code for the gateway and a message for the user."""

from __future__ import annotations

import errno
import os
from typing import Any

_NAMES = {
    errno.ENOENT: ("FILE_NOT_FOUND", "there is no such file"),
    errno.EISDIR: ("IS_DIRECTORY", "it is a directory"),
    errno.ENOTDIR: ("NOT_A_DIRECTORY", "it, or a part of its path, is not a directory"),
    errno.ENXIO: ("NOT_A_FILE", "it is no regular file"),
    errno.EXDEV: ("OUTSIDE", "a link leads out of the workspace, or is an absolute one"),
    errno.ELOOP: ("OUTSIDE", "it has too many links"),
    errno.ENOSPC: ("NO_SPACE", "there is no space left"),
    errno.EDQUOT: ("NO_SPACE", "the quota is used up"),
    errno.EFBIG: ("NO_SPACE", "it is too large"),
    errno.ENOTEMPTY: ("FAILED", "the directory is not empty"),
}


class FileRefusal(Exception):
    """An error answer; ``name`` is its code."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.name = name

    @classmethod
    def by_system(cls, error: OSError) -> FileRefusal:
        """Return the refusal for an error of the operating system."""
        number = error.errno or 0
        return cls(*_NAMES.get(number, ("FAILED", os.strerror(number))))

    def content(self) -> dict[str, Any]:
        """Return the content of the reply."""
        return {"status": "error", "ename": self.name, "evalue": str(self)}
