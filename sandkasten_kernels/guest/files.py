"""Files below one directory, for requests of the gateway's: a step at a time, and never by a link that leads out.

The guest is not dumpable and holds a key, code beside it makes the links: so every path is resolved by the kernel with
``RESOLVE_BENEATH`` (openat2, Linux 5.6), and a FIFO is opened without waiting for its other end. A file is written
beside its place and renamed into it.

=============== ============================= =================================================
request         content                       reply
=============== ============================= =================================================
``file_stat``   ``path``                      ``kind size modified mode``
``file_list``   ``path``                      ``entries truncated``; entries as of stat, and ``name``
``file_open``   ``path``                      ``handle size``
``file_read``   ``handle size``               data, empty at the end
``file_create`` ``path mode``                 ``handle``; parents are made
``file_write``  ``handle``, data
``file_close``  ``handle commit``             a created file takes its place, or is removed
``file_mkdir``  ``path``
=============== ============================= =================================================

An error has ``ename`` (``FILE_NOT_FOUND``, ``IS_DIRECTORY``, ``NOT_A_DIRECTORY``, ``NOT_A_FILE``, ``OUTSIDE``,
``NO_SPACE``, ``TOO_MANY``, ``FAILED``) and ``evalue``.
"""

from __future__ import annotations

import ctypes
import errno
import os
import stat
import struct
import time
from collections.abc import Callable
from typing import Any

MAX_HANDLES = 64
MAX_READ_BYTES = 512 * 1024
MAX_LIST_BYTES, ENTRY_BYTES = 900_000, 120
IDLE_SECONDS = 120.0
OPENAT2 = 437
RESOLVE_NO_MAGICLINKS, RESOLVE_BENEATH = 2, 8

Answer = tuple[dict[str, Any], bytes]

_NAMES = {
    errno.ENOENT: ("FILE_NOT_FOUND", "there is no such file"),
    errno.EISDIR: ("IS_DIRECTORY", "it is a directory"),
    errno.ENOTDIR: ("NOT_A_DIRECTORY", "a part of the path is not a directory"),
    errno.EXDEV: ("OUTSIDE", "it leads out of the workspace"),
    errno.ELOOP: ("OUTSIDE", "it has too many links"),
    errno.ENOSPC: ("NO_SPACE", "there is no space left"),
    errno.EDQUOT: ("NO_SPACE", "the quota is used up"),
    errno.EFBIG: ("NO_SPACE", "it is too large"),
}


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(words)
        self.name = name


class Handle:
    """An open file; one that is written has a parent, a name for now and its own name."""

    def __init__(self, fd: int, parent: int = -1, temporary: str = "", name: str = "") -> None:
        self.fd = fd
        self.parent = parent
        self.temporary = temporary
        self.name = name
        self.used = time.monotonic()

    def close(self, commit: bool) -> None:
        """Give the descriptors back; a file that is not committed is removed."""
        try:
            if self.temporary and commit:
                os.rename(self.temporary, self.name, src_dir_fd=self.parent, dst_dir_fd=self.parent)
                self.temporary = ""
        finally:
            os.close(self.fd)
            if self.temporary:
                try:
                    os.unlink(self.temporary, dir_fd=self.parent)
                except OSError:
                    pass
            if self.parent >= 0:
                os.close(self.parent)


class Files:
    """Answers requests about the files below ``root``."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._handles: dict[str, Handle] = {}
        self._requests: dict[str, Callable[[dict[str, Any], bytes], Answer]] = {
            "file_stat": self._stat,
            "file_list": self._list,
            "file_open": self._open,
            "file_read": self._read,
            "file_create": self._create,
            "file_write": self._write,
            "file_close": self._close,
            "file_mkdir": self._mkdir,
        }

    def answer(self, request: str, content: dict[str, Any], data: bytes) -> Answer | None:
        """Return the reply's content and data; None for a request that is not about files."""
        serve = self._requests.get(request)
        if serve is None:
            return None
        try:
            return serve(content, data)
        except Refused as refused:
            return {"status": "error", "ename": refused.name, "evalue": str(refused)}, b""
        except OSError as error:
            name, words = _NAMES.get(error.errno or 0, ("FAILED", os.strerror(error.errno or 0)))
            return {"status": "error", "ename": name, "evalue": words}, b""

    def _stat(self, content: dict[str, Any], data: bytes) -> Answer:
        fd = self._resolve(content["path"], os.O_PATH)
        try:
            return {"status": "ok", **_about(os.fstat(fd))}, b""
        finally:
            os.close(fd)

    def _list(self, content: dict[str, Any], data: bytes) -> Answer:
        fd = self._resolve(content["path"], os.O_RDONLY | os.O_DIRECTORY)
        entries: list[dict[str, Any]] = []
        truncated, listed = False, 0
        try:
            with os.scandir(fd) as found:
                for entry in found:
                    listed += ENTRY_BYTES + 6 * len(entry.name)
                    if listed > MAX_LIST_BYTES:
                        truncated = True
                        break
                    try:
                        entries.append({"name": entry.name, **_about(entry.stat(follow_symlinks=False))})
                    except FileNotFoundError:
                        continue
        finally:
            os.close(fd)
        entries.sort(key=lambda entry: entry["name"])
        return {"status": "ok", "entries": entries, "truncated": truncated}, b""

    def _open(self, content: dict[str, Any], data: bytes) -> Answer:
        fd = self._resolve(content["path"], os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        try:
            about = os.fstat(fd)
            _must_be_file(about)
            return {"status": "ok", "handle": self._keep(Handle(fd)), "size": about.st_size}, b""
        except BaseException:
            os.close(fd)
            raise

    def _read(self, content: dict[str, Any], data: bytes) -> Answer:
        return {"status": "ok"}, os.read(self._handle(content).fd, min(int(content["size"]), MAX_READ_BYTES))

    def _create(self, content: dict[str, Any], data: bytes) -> Answer:
        folder, _, name = content["path"].rpartition("/")
        if name in ("", ".", ".."):
            raise Refused("IS_DIRECTORY", "it is a directory")
        parent = self._make(folder)
        temporary = f".{os.urandom(8).hex()}.part"
        fd = -1
        try:
            mode = self._mode_of(parent, name) if content.get("mode") is None else int(content["mode"]) & 0o777
            fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600, dir_fd=parent)
            os.fchmod(fd, mode)
            return {"status": "ok", "handle": self._keep(Handle(fd, parent, temporary, name))}, b""
        except BaseException:
            if fd >= 0:
                os.close(fd)
                os.unlink(temporary, dir_fd=parent)
            os.close(parent)
            raise

    def _write(self, content: dict[str, Any], data: bytes) -> Answer:
        fd = self._handle(content).fd
        view = memoryview(data)
        while view:
            view = view[os.write(fd, view) :]
        return {"status": "ok"}, b""

    def _close(self, content: dict[str, Any], data: bytes) -> Answer:
        handle = self._handles.pop(str(content["handle"]), None)
        if handle is not None:
            handle.close(bool(content.get("commit")))
        elif content.get("commit"):
            raise Refused("FAILED", "it was closed: nothing came for too long")
        return {"status": "ok"}, b""

    def _mkdir(self, content: dict[str, Any], data: bytes) -> Answer:
        os.close(self._make(content["path"]))
        return {"status": "ok"}, b""

    def _make(self, path: str) -> int:
        """Return a descriptor of a directory, made with its parents where it is missing."""
        try:
            return self._resolve(path, os.O_PATH | os.O_DIRECTORY)
        except FileNotFoundError:
            folder, _, name = path.rpartition("/")
            parent = self._make(folder)
        try:
            try:
                os.mkdir(name, 0o755, dir_fd=parent)
            except FileExistsError:
                pass
        finally:
            os.close(parent)
        return self._resolve(path, os.O_PATH | os.O_DIRECTORY)

    def _mode_of(self, parent: int, name: str) -> int:
        """Return the mode of a file that is to be replaced, or a usual one."""
        try:
            about = os.stat(name, dir_fd=parent, follow_symlinks=False)
        except FileNotFoundError:
            return 0o644
        if stat.S_ISDIR(about.st_mode):
            raise Refused("IS_DIRECTORY", "it is a directory")
        return about.st_mode & 0o777 if stat.S_ISREG(about.st_mode) else 0o644

    def _resolve(self, path: str, flags: int) -> int:
        """Return a descriptor of what is at a path below the root, as the kernel resolves it beneath."""
        root = os.open(self._root, os.O_PATH | os.O_DIRECTORY)
        try:
            how = struct.pack("=QQQ", flags | os.O_CLOEXEC, 0, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
            name = os.fsencode(path or ".")
            if b"\0" in name:
                raise Refused("FILE_NOT_FOUND", "a path has no NUL")
            fd: int = self._libc.syscall(OPENAT2, root, name, how, len(how))
        finally:
            os.close(root)
        if fd < 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))
        return fd

    def _keep(self, handle: Handle) -> str:
        now = time.monotonic()
        for name, other in list(self._handles.items()):
            if now - other.used > IDLE_SECONDS:
                del self._handles[name]
                other.close(False)
        if len(self._handles) >= MAX_HANDLES:
            raise Refused("TOO_MANY", f"{MAX_HANDLES} files are open already")
        name = os.urandom(8).hex()
        self._handles[name] = handle
        return name

    def _handle(self, content: dict[str, Any]) -> Handle:
        handle = self._handles.get(str(content["handle"]))
        if handle is None:
            raise Refused("FAILED", "it was closed: nothing came for too long")
        handle.used = time.monotonic()
        return handle


def _about(found: os.stat_result) -> dict[str, Any]:
    mode = found.st_mode
    kinds = ((stat.S_ISREG, "file"), (stat.S_ISDIR, "directory"), (stat.S_ISLNK, "link"))
    kind = next((name for test, name in kinds if test(mode)), "other")
    return {"kind": kind, "size": found.st_size, "modified": found.st_mtime, "mode": mode & 0o777}


def _must_be_file(about: os.stat_result) -> None:
    if stat.S_ISDIR(about.st_mode):
        raise Refused("IS_DIRECTORY", "it is a directory")
    if not stat.S_ISREG(about.st_mode):
        raise Refused("NOT_A_FILE", "it is no regular file")
