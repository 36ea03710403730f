"""WorkspaceTree: opens paths below one root; no link leads out of it.

Linux itself resolves every path, with ``RESOLVE_BENEATH`` (openat2, Linux 5.6). A check in user space would not be
safe: code in the sandbox can replace a directory by a link between the check and its use.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct

from .refusal import FileRefusal

OPENAT2 = 437
RESOLVE_NO_MAGICLINKS, RESOLVE_BENEATH = 2, 8
DEFAULT_MODE = 0o644


class WorkspaceTree:
    """Paths below ``root``.

    The caller closes the descriptors. Every method raises `OSError` for a refusal of the system.
    """

    def __init__(self, root: str) -> None:
        self._root = root
        self._libc = ctypes.CDLL(None, use_errno=True)

    def open(self, path: str, flags: int) -> int:
        """Return a descriptor for a path, which Linux resolves beneath the root."""
        how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
        root = os.open(self._root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fd: int = self._libc.syscall(OPENAT2, root, os.fsencode(path or "."), how, len(how))
        finally:
            os.close(root)
        if fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return fd

    def make(self, path: str) -> int:
        """Return a descriptor of a directory; create it and its parents if they are missing."""
        missing: list[str] = []
        while True:
            try:
                fd = self.open(path, os.O_PATH | os.O_DIRECTORY)
                break
            except FileNotFoundError:
                if not path:
                    raise
                path, _, name = path.rpartition("/")
                missing.append(name)
        for name in reversed(missing):
            parent = fd
            try:
                try:
                    os.mkdir(name, 0o755, dir_fd=parent)
                except FileExistsError:
                    pass
                fd = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
            finally:
                os.close(parent)
        return fd

    def remove(self, path: str) -> None:
        """Remove a file, a link or an empty directory."""
        folder, name = _split(path)
        parent = self.open(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                os.rmdir(name, dir_fd=parent)
            else:
                os.unlink(name, dir_fd=parent)
        finally:
            os.close(parent)

    def nameless(self) -> int:
        """Return a descriptor of a new file without a name. Closing it without `place` deletes the file."""
        return os.open(self._root, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)

    def place(self, fd: int, path: str, mode: int | None) -> None:
        """Set the mode of a nameless file, and give it its path atomically; create missing parents.

        ``mode`` None: the mode of the file that is replaced, else `DEFAULT_MODE`.
        """
        folder, name = _split(path)
        parent = self.make(folder)
        passing = f".{os.urandom(8).hex()}.part"
        try:
            os.fchmod(fd, _mode_of(parent, name) if mode is None else mode & 0o777)
            os.link(f"/proc/self/fd/{fd}", passing, dst_dir_fd=parent, follow_symlinks=True)
            try:
                os.rename(passing, name, src_dir_fd=parent, dst_dir_fd=parent)
            except OSError:
                os.unlink(passing, dir_fd=parent)
                raise
        finally:
            os.close(parent)


def check_path(path: str) -> None:
    """Raise `FileRefusal` for a string that cannot be a path."""
    try:
        whole = os.fsencode(path)
    except UnicodeEncodeError:
        raise FileRefusal("FILE_NOT_FOUND", "a file name cannot have NUL characters or lone surrogates") from None
    if b"\0" in whole:
        raise FileRefusal("FILE_NOT_FOUND", "a file name cannot have NUL characters or lone surrogates")


def _split(path: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    if name in ("", ".", ".."):
        raise FileRefusal("IS_DIRECTORY", "it is a directory")
    return folder, name


def _mode_of(parent: int, name: str) -> int:
    """Return the mode of the file at a name, or the default mode for no regular file."""
    try:
        about = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return DEFAULT_MODE
    return about.st_mode & 0o777 if stat.S_ISREG(about.st_mode) else DEFAULT_MODE
