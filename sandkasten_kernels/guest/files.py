"""Files below one directory, for requests of the gateway's: a step at a time, and never by a link that leads out.

The guest is not dumpable and holds a key, code beside it makes the links: so every path is resolved by the kernel with
``RESOLVE_BENEATH`` (openat2, Linux 5.6), and a FIFO is opened without waiting for its other end. A file is written
without a name (``O_TMPFILE``) and takes its place at once: of what is given up nothing is left.

=============== ============================= =================================================
request         content                       reply
=============== ============================= =================================================
``file_stat``   ``path``                      ``kind size modified mode``
``file_list``   ``path handle``               ``entries``, each as of stat and ``name``; ``more`` or not
``file_more``   ``handle``                    the same
``file_open``   ``path handle``               ``size ended``, the first data; ``ended``: that was all, nothing is open
``file_read``   ``handle``                    data, empty at the end
``file_create`` ``handle``                    a file that has no place yet
``file_write``  ``handle``, data
``file_place``  ``handle path mode``          a created file takes its place; parents are made
``file_put``    ``path mode``, data           a whole file at once
``file_close``  ``handle``
``file_mkdir``  ``path``                      with its parents; no-op for a directory that is there
``file_remove`` ``path``                      a file, a link or an empty directory
=============== ============================= =================================================

A handle is a name of the asker's, who can so close what he has had no answer about. ``mode`` may be null: that of the
file that is replaced, or 0644. An error has ``ename`` (``FILE_NOT_FOUND``, ``IS_DIRECTORY``, ``NOT_A_DIRECTORY``,
``NOT_A_FILE``, ``OUTSIDE``, ``NO_SPACE``, ``TOO_MANY``, ``FAILED``) and ``evalue``.
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

MAX_HANDLES = 512
MAX_READ_BYTES = 512 * 1024
MAX_LIST_BYTES, ENTRY_BYTES = 900_000, 120
IDLE_SECONDS = 900.0
USUAL_MODE = 0o644
OPENAT2 = 437
RESOLVE_NO_MAGICLINKS, RESOLVE_BENEATH = 2, 8

Answer = tuple[dict[str, Any], bytes]

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


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, name: str, words: str) -> None:
        super().__init__(words)
        self.name = name


class Handle:
    """A file or a listing that is open."""

    def __init__(self, fd: int) -> None:
        self.fd = fd
        self.listing: Any = None
        self.used = time.monotonic()

    def close(self) -> None:
        """Give the descriptors back; a file that has taken no place is gone then."""
        os.close(self.fd)
        if self.listing is not None:
            self.listing.close()


class Files:
    """Answers requests about the files below ``root``."""

    def __init__(self, root: str) -> None:
        self._root = root
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._handles: dict[str, Handle] = {}
        self._requests: dict[str, Callable[[dict[str, Any], bytes], Answer]] = {
            "file_stat": self._stat,
            "file_list": self._list,
            "file_more": self._more,
            "file_open": self._open,
            "file_read": self._read,
            "file_create": self._create,
            "file_write": self._write,
            "file_place": self._place,
            "file_put": self._put,
            "file_close": self._close,
            "file_mkdir": self._mkdir,
            "file_remove": self._remove,
        }

    def answer(self, request: str, content: dict[str, Any], data: bytes) -> Answer | None:
        """Return the reply's content and data; None for a request that is not about files."""
        serve = self._requests.get(request)
        if serve is None:
            return None
        try:
            _check(content.get("path", ""))
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
        handle = Handle(fd)
        try:
            handle.listing = os.scandir(fd)
            entries, more = _page(handle)
            if more:
                self._keep(content["handle"], handle)
        except BaseException:
            handle.close()
            raise
        if not more:
            handle.close()
        return {"status": "ok", "entries": entries, "more": more}, b""

    def _more(self, content: dict[str, Any], data: bytes) -> Answer:
        entries, more = _page(self._handle(content))
        return {"status": "ok", "entries": entries, "more": more}, b""

    def _open(self, content: dict[str, Any], data: bytes) -> Answer:
        fd = self._resolve(content["path"], os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        ended = True
        try:
            about = os.fstat(fd)
            _must_be_file(about)
            found = os.read(fd, MAX_READ_BYTES)
            if len(found) == MAX_READ_BYTES:
                self._keep(content["handle"], Handle(fd))
                ended = False
        finally:
            if ended:
                os.close(fd)
        return {"status": "ok", "size": about.st_size, "ended": ended}, found

    def _read(self, content: dict[str, Any], data: bytes) -> Answer:
        return {"status": "ok"}, os.read(self._handle(content).fd, MAX_READ_BYTES)

    def _create(self, content: dict[str, Any], data: bytes) -> Answer:
        fd = self._nameless()
        try:
            self._keep(content["handle"], Handle(fd))
        except BaseException:
            os.close(fd)
            raise
        return {"status": "ok"}, b""

    def _write(self, content: dict[str, Any], data: bytes) -> Answer:
        _write_all(self._handle(content).fd, data)
        return {"status": "ok"}, b""

    def _place(self, content: dict[str, Any], data: bytes) -> Answer:
        self._settle(self._handle(content).fd, content["path"], content.get("mode"))
        return self._close(content, data)

    def _put(self, content: dict[str, Any], data: bytes) -> Answer:
        fd = self._nameless()
        try:
            _write_all(fd, data)
            self._settle(fd, content["path"], content.get("mode"))
        finally:
            os.close(fd)
        return {"status": "ok"}, b""

    def _close(self, content: dict[str, Any], data: bytes) -> Answer:
        handle = self._handles.pop(str(content["handle"]), None)
        if handle is not None:
            handle.close()
        return {"status": "ok"}, b""

    def _mkdir(self, content: dict[str, Any], data: bytes) -> Answer:
        os.close(self._make(content["path"]))
        return {"status": "ok"}, b""

    def _remove(self, content: dict[str, Any], data: bytes) -> Answer:
        folder, name = _split(content["path"])
        parent = self._resolve(folder, os.O_PATH | os.O_DIRECTORY)
        try:
            if stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                os.rmdir(name, dir_fd=parent)
            else:
                os.unlink(name, dir_fd=parent)
        finally:
            os.close(parent)
        return {"status": "ok"}, b""

    def _nameless(self) -> int:
        return os.open(self._root, os.O_RDWR | os.O_TMPFILE | os.O_CLOEXEC, 0o600)

    def _settle(self, fd: int, path: str, mode: int | None) -> None:
        """Give a nameless file its mode and its place."""
        folder, name = _split(path)
        parent = self._make(folder)
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

    def _make(self, path: str) -> int:
        """Return a descriptor of a directory, made with its parents where it is missing."""
        missing: list[str] = []
        while True:
            try:
                fd = self._resolve(path, os.O_PATH | os.O_DIRECTORY)
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

    def _resolve(self, path: str, flags: int) -> int:
        """Return a descriptor of what is at a path below the root, as the kernel resolves it beneath."""
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

    def _keep(self, name: str, handle: Handle) -> None:
        now = time.monotonic()
        for key, other in list(self._handles.items()):
            if now - other.used > IDLE_SECONDS:
                del self._handles[key]
                other.close()
        if len(self._handles) >= MAX_HANDLES:
            raise Refused("TOO_MANY", f"{MAX_HANDLES} files are open already")
        self._handles[name] = handle

    def _handle(self, content: dict[str, Any]) -> Handle:
        handle = self._handles.get(str(content["handle"]))
        if handle is None:
            raise Refused("FAILED", "it was closed: nothing came for too long")
        handle.used = time.monotonic()
        return handle


def _check(path: str) -> None:
    try:
        whole = os.fsencode(path)
    except UnicodeEncodeError:
        raise Refused("FILE_NOT_FOUND", "no file can be called so") from None
    if b"\0" in whole:
        raise Refused("FILE_NOT_FOUND", "no file can be called so")


def _split(path: str) -> tuple[str, str]:
    folder, _, name = path.rpartition("/")
    if name in ("", ".", ".."):
        raise Refused("IS_DIRECTORY", "it is a directory")
    return folder, name


def _mode_of(parent: int, name: str) -> int:
    """Return the mode of a file that is to be replaced, or the usual one."""
    try:
        about = os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return USUAL_MODE
    return about.st_mode & 0o777 if stat.S_ISREG(about.st_mode) else USUAL_MODE


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _page(handle: Handle) -> tuple[list[dict[str, Any]], bool]:
    """Return the next entries, sorted among themselves, and whether there may be more."""
    entries: list[dict[str, Any]] = []
    listed = 0
    for entry in handle.listing:
        try:
            entries.append({"name": entry.name, **_about(entry.stat(follow_symlinks=False))})
        except FileNotFoundError:
            continue
        listed += ENTRY_BYTES + 12 * len(entry.name)  # of JSON: what is beyond the BMP takes as much
        if listed > MAX_LIST_BYTES:
            break
    entries.sort(key=lambda entry: str(entry["name"]))
    return entries, listed > MAX_LIST_BYTES


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
