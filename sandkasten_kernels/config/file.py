"""SettingsFile: the configuration file, saved as a whole or not at all, with a backup and a check of its version."""

from __future__ import annotations

import hmac
import os
import secrets
import shlex
import stat
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from ..errors import SettingsChanged, SettingsReadOnly
from .settings import Settings

__all__ = ["MAX_BYTES", "NAME", "SettingsFile"]

NAME = "settings.yaml"
"""The file in ``data_dir`` that is used where none is named; a page may create it."""

MAX_BYTES = 64 * 1024
STALE_SECONDS = 60.0


class SettingsFile:
    """One configuration file, which may be absent. A symbolic link stays; its target is read and replaced.

    Parameters
    ----------
    own: whether it is the file in ``data_dir``, used because none was named.

    Attributes
    ----------
    salt: key of the versions. With a lasting one they stay valid after a restart; without it nobody can compute the
        version of a guessed text.
    """

    def __init__(self, path: Path, *, own: bool = False) -> None:
        self.path = path.absolute()
        self.own = own
        self.salt = secrets.token_bytes(32)

    @property
    def option(self) -> str:
        """The option, quoted for a shell, that makes a command of this program read this file."""
        return shlex.quote(f"--data-dir={self.path.parent}" if self.own else f"--config={self.path}")

    def read(self) -> tuple[str, str]:
        """Return the text, empty for an absent file, and its version, which changes with the text.

        The version reveals nothing of the text, which may contain a secret. Raises `SettingsReadOnly` for a file that
        cannot be read, is not UTF-8 or is larger than `MAX_BYTES`.
        """
        content = self._content()
        try:
            return content.decode(), self._version(content)
        except UnicodeDecodeError:
            raise SettingsReadOnly(f"{self.path} is not text in UTF-8: repair it on the machine") from None

    def why_read_only(self) -> str:
        """Return why the file cannot be saved; empty where it can."""
        target = self.path.resolve()
        # a save makes a new file beside the old one and renames it
        if not os.access(target.parent, os.W_OK | os.X_OK):
            return f"the gateway may not write to {target.parent}"
        if not target.exists():
            return ""
        if not target.is_file():
            return f"{target} is not a file"
        # os.access allows root everything, but a file without any write bit is meant to stay as it is
        if not target.stat().st_mode & 0o222 or not os.access(target, os.W_OK):
            return f"the gateway may not write to {target}"
        if os.path.ismount(target):
            return f"{target} is a mount point, which cannot be replaced: mount its directory instead"
        return ""

    def check(self, version: str, seen: str) -> None:
        """Raise `SettingsChanged` when ``seen``, the version that a caller has, is not the current one."""
        # bytes: compare_digest takes only ASCII in strings; JSON may contain lone surrogates
        if not hmac.compare_digest(version.encode(), seen.encode("utf-8", "replace")):
            raise SettingsChanged("the settings were saved by somebody else meanwhile: look at them before you save")

    def check_own(self, settings: Settings) -> None:
        """Raise `ConfigError` when the file in ``data_dir`` sets ``data_dir``."""
        if self.own and settings.given("data_dir"):
            problem = "a file in data_dir cannot set data_dir: use --data-dir or SANDKASTEN_DATA_DIR"
            raise settings.error(("data_dir",), problem)

    @property
    def backup(self) -> Path:
        """The file that the last save replaced."""
        target = self.path.resolve()
        return target.with_name(target.name + ".bak")

    @property
    def open_to_all(self) -> bool:
        """Whether every user of this machine may read the file."""
        return self.path.exists() and bool(self.path.stat().st_mode & stat.S_IROTH)

    def save(self, text: str, version: str, *, private: bool = False) -> str:
        """Replace the text that has this version, keep the old one beside it as ``.bak``, and return the new version.

        Owner and mode stay. Only its owner can read a new file, and any file with its backup if ``private`` is true.
        Raises `SettingsChanged` when the file has another version by now, `SettingsReadOnly` when it cannot be written.
        """
        if problem := self.why_read_only():
            raise SettingsReadOnly(f"the settings cannot be saved: {problem}")
        target = self.path.resolve()
        try:
            # checked once more: an editor on the machine may have saved the file since the caller's check
            old = self._content()
            self.check(self._version(old), version)
            like = target.stat() if target.exists() else None
            if like is not None:
                # the backup first: if it fails, the file is as it was
                _replace(self.backup, old, like, private=private)
            content = text.encode()
            _replace(target, content, like, private=private)
            return self._version(content)
        except OSError as error:
            raise SettingsReadOnly(f"the settings cannot be saved: {target}: {error.strerror}") from error

    def _content(self) -> bytes:
        try:
            with self.path.open("rb") as file:
                # one byte more tells a file at the limit from a larger one
                content = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise SettingsReadOnly(f"{self.path} cannot be read: {error.strerror}") from error
        if len(content) > MAX_BYTES:
            raise SettingsReadOnly(f"{self.path} is larger than {MAX_BYTES // 1024} KiB: edit it on the machine")
        return content

    def _version(self, content: bytes) -> str:
        return hmac.new(self.salt, content, "sha256").hexdigest()


def _replace(path: Path, content: bytes, like: os.stat_result | None, *, private: bool) -> None:
    """Replace a file as a whole, with owner and mode of ``like``; it is on the disk when this returns."""
    prefix = f".{path.name}-"
    for left in path.parent.glob(f"{prefix}*"):  # left by a gateway that was killed while it saved
        if left.lstat().st_mtime < time.time() - STALE_SECONDS:
            left.unlink(missing_ok=True)
    fd, draft = tempfile.mkstemp(dir=path.parent, prefix=prefix)
    try:
        with open(fd, "wb") as file:
            if like is not None:
                with suppress(PermissionError):  # another user's file, writable by our group
                    os.fchown(fd, like.st_uid, like.st_gid)
                os.fchmod(fd, stat.S_IMODE(like.st_mode) & (0o600 if private else 0o7777))
            file.write(content)
            file.flush()
            # before the rename: after a power failure the name must not stand for an empty file
            os.fsync(fd)
        Path(draft).replace(path)
    except BaseException:
        Path(draft).unlink(missing_ok=True)
        raise
    # the rename is on the disk only after its directory is
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
