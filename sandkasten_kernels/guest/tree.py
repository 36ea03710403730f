"""The directories below one root, never left by a link: every path is resolved by the kernel.

That is ``RESOLVE_BENEATH`` (openat2, Linux 5.6). The guest is not dumpable and holds a key, and code beside it makes
links while we look.
"""

from __future__ import annotations

import ctypes
import os
import stat
import struct

from .refusal import FileRefusal

OPENAT2 = 437
RESOLVE_NO_MAGICLINKS, RESOLVE_BENEATH = 2, 8
USUAL_MODE = 0o644


class WorkspaceTree:
    """Paths below ``root``, as descriptors that the caller closes. What the system refuses is an `OSError`."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._libc = ctypes.CDLL(None, use_errno=True)

    def open(self, path: str, flags: int) -> int:
        """Return a descriptor of what is at a path, as the kernel resolves it beneath the root."""
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
        """Return a descriptor of a directory, made with its parents where it is missing."""
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
        """Return a descriptor of a new file that has no place yet; closed without one it is gone."""
        return os.open(self._root, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)

    def place(self, fd: int, path: str, mode: int | None) -> None:
        """Give a nameless file its mode and, at once, its place; parents are made.

        Without a mode it is that of the file that is replaced, or `USUAL_MODE`.
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
    """Raise `FileRefusal` for what no file can be called."""
    try:
        whole = os.fsencode(path)
    except UnicodeEncodeError:
        raise FileRefusal("FILE_NOT_FOUND", "no file can be called so") from None
    if b"\0" in whole:
        raise FileRefusal("FILE_NOT_FOUND", "no file can be called so")


def _split(path: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    if name in ("", ".", ".."):
        raise FileRefusal("IS_DIRECTORY", "it is a directory")
    return folder, name


def _mode_of(parent: int, name: str) -> int:
    """Return the mode of a file that is to be replaced, or the usual one."""
    try:
        about = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return USUAL_MODE
    return about.st_mode & 0o777 if stat.S_ISREG(about.st_mode) else USUAL_MODE
