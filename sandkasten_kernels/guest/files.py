"""FileService: answers the gateway's requests about files below one directory. No link leads out of it.

=============== ============================= =================================================
request         content                       reply
=============== ============================= =================================================
``file_stat``   ``path``                      ``kind size modified mode``
``file_list``   ``path handle``               ``entries``, each as of stat, with ``name``; whether ``more``
``file_more``   ``handle``                    the same
``file_open``   ``path handle``               ``size ended``, the first data; ``ended``: no more, nothing stays open
``file_read``   ``handle``                    data, empty at the end
``file_create`` ``handle``                    creates a file that has no name yet
``file_write``  ``handle``, data
``file_place``  ``handle path mode``          moves a created file to its path; creates parents
``file_put``    ``path mode``, data           writes a whole file
``file_close``  ``handle``
``file_mkdir``  ``path``                      creates a directory with its parents; no-op if it exists
``file_remove`` ``path``                      removes a file, a link or an empty directory
=============== ============================= =================================================

The gateway chooses the name of a handle. So it can also close one after a request that was never answered. ``mode`` may
be null: the mode of the file that is replaced, else 0644. An error has ``ename`` (``FILE_NOT_FOUND``, ``IS_DIRECTORY``,
``NOT_A_DIRECTORY``, ``NOT_A_FILE``, ``OUTSIDE``, ``NO_SPACE``, ``TOO_MANY``, ``FAILED``) and ``evalue``.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from typing import Any

from .handles import Handle, Handles
from .listing import Listing, about
from .refusal import FileRefusal
from .tree import WorkspaceTree, check_path

MAX_READ_BYTES = 512 * 1024

Answer = tuple[dict[str, Any], bytes]


class FileService:
    """Answers requests about the files below ``root``.

    Opening a FIFO does not wait for its other end. A file is written without a name (``O_TMPFILE``) and then appears
    at its path at once: an abandoned write leaves nothing behind.
    """

    def __init__(self, root: str) -> None:
        self._tree = WorkspaceTree(root)
        self._handles = Handles()
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
        """Return the content and the data of the reply; None for a request that is not about files."""
        serve = self._requests.get(request)
        if serve is None:
            return None
        try:
            check_path(content.get("path", ""))
            return serve(content, data)
        except FileRefusal as refused:
            return refused.content(), b""
        except OSError as error:
            return FileRefusal.by_system(error).content(), b""

    def _stat(self, content: dict[str, Any], data: bytes) -> Answer:
        fd = self._tree.open(content["path"], os.O_PATH)
        try:
            return {"status": "ok", **about(os.fstat(fd))}, b""
        finally:
            os.close(fd)

    def _list(self, content: dict[str, Any], data: bytes) -> Answer:
        listing = Listing(self._tree.open(content["path"], os.O_RDONLY | os.O_DIRECTORY))
        ended = True
        try:
            entries, more = listing.page()
            if more:
                self._handles.keep(_handle(content), listing)
                ended = False
        finally:
            if ended:
                listing.close()
        return {"status": "ok", "entries": entries, "more": more}, b""

    def _more(self, content: dict[str, Any], data: bytes) -> Answer:
        listing = self._handles.find(_handle(content))
        if not isinstance(listing, Listing):
            raise FileRefusal("NOT_A_DIRECTORY", "the handle is a file, not a listing")
        entries, more = listing.page()
        return {"status": "ok", "entries": entries, "more": more}, b""

    def _open(self, content: dict[str, Any], data: bytes) -> Answer:
        fd = self._tree.open(content["path"], os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY)
        ended = True
        try:
            found = os.fstat(fd)
            _must_be_file(found)
            first = os.read(fd, MAX_READ_BYTES)
            if len(first) == MAX_READ_BYTES:
                self._handles.keep(_handle(content), Handle(fd))
                ended = False
        finally:
            if ended:
                os.close(fd)
        return {"status": "ok", "size": found.st_size, "ended": ended}, first

    def _read(self, content: dict[str, Any], data: bytes) -> Answer:
        return {"status": "ok"}, os.read(self._handles.find(_handle(content)).fd, MAX_READ_BYTES)

    def _create(self, content: dict[str, Any], data: bytes) -> Answer:
        fd = self._tree.nameless()
        try:
            self._handles.keep(_handle(content), Handle(fd))
        except BaseException:
            os.close(fd)
            raise
        return {"status": "ok"}, b""

    def _write(self, content: dict[str, Any], data: bytes) -> Answer:
        _write_all(self._handles.find(_handle(content)).fd, data)
        return {"status": "ok"}, b""

    def _place(self, content: dict[str, Any], data: bytes) -> Answer:
        self._tree.place(self._handles.find(_handle(content)).fd, content["path"], content.get("mode"))
        return self._close(content, data)

    def _put(self, content: dict[str, Any], data: bytes) -> Answer:
        fd = self._tree.nameless()
        try:
            _write_all(fd, data)
            self._tree.place(fd, content["path"], content.get("mode"))
        finally:
            os.close(fd)
        return {"status": "ok"}, b""

    def _close(self, content: dict[str, Any], data: bytes) -> Answer:
        self._handles.close(_handle(content))
        return {"status": "ok"}, b""

    def _mkdir(self, content: dict[str, Any], data: bytes) -> Answer:
        os.close(self._tree.make(content["path"]))
        return {"status": "ok"}, b""

    def _remove(self, content: dict[str, Any], data: bytes) -> Answer:
        self._tree.remove(content["path"])
        return {"status": "ok"}, b""


def _handle(content: dict[str, Any]) -> str:
    return str(content["handle"])


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _must_be_file(found: os.stat_result) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise FileRefusal("IS_DIRECTORY", "it is a directory")
    if not stat.S_ISREG(found.st_mode):
        raise FileRefusal("NOT_A_FILE", "it is no regular file")
