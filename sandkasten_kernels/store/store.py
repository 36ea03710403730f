"""Store: sessions, sandboxes and kernels in SQLite, so that they outlive a request and the gateway's process.

When a method that writes returns, SQLite has committed to the write-ahead log, which survives a killed process. The
store never contains values of environment variables. docs/architecture.md, "Ids", has the relations of the tables.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Set
from contextlib import closing, contextmanager
from dataclasses import fields
from itertools import islice
from pathlib import Path
from typing import Any

from ..errors import ConfigError, StoreFailed
from .migrations import MIGRATIONS
from .record import Record

__all__ = ["Store"]

BUSY_SECONDS = 0.2
"""How long a call waits for another process that has locked the file. The whole gateway waits with it."""
MAX_RECORDS = 1000
WAYS_OUT = {
    sqlite3.SQLITE_BUSY: "another program uses it: end that",
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_IOERR: "look whether its disk is full, or failing",
    sqlite3.SQLITE_READONLY: "it must be writable",
    sqlite3.SQLITE_CANTOPEN: "it must be a file that can be opened, in a directory that can be written",
}
"""The way out for each of SQLite's primary result codes that leave the file as it is."""


class Store:
    """Opens the database at ``path`` and brings it to the newest version; one process at a time.

    Raises `ConfigError` if the file is damaged, or of a newer version than this program knows. Methods that write raise
    `StoreFailed`, for instance when the disk is full.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.touch(mode=0o600)  # SQLite would make a file that everybody can read
            # isolation_level None: sqlite3 opens no transaction by itself; `_transaction` does
            self._database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            self._database.row_factory = sqlite3.Row
            # before the next line, which writes: the file of a newer program stays as it is
            self._check()
            self._database.execute("PRAGMA journal_mode = WAL")
            # without a sync after each commit: only a power failure can lose the last ones, never a killed process
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._migrate()
        except sqlite3.Error as error:
            # the lowest byte of an extended result code is the primary one
            way_out = WAYS_OUT.get(error.sqlite_errorcode & 0xFF, "move it away to begin a new one")
            raise ConfigError(f"{path}: cannot be used: {error}; {way_out}") from error
        except OSError as error:
            raise ConfigError(f"{path}: cannot be used: {error.strerror}") from error

    def _check(self) -> None:
        """Raise `ConfigError` unless the file is undamaged and of a known version. Change nothing."""
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise ConfigError(
                f"{self._path}: of version {version}, this program knows {len(MIGRATIONS)}: use a newer one"
            )
        (found,) = self._database.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise ConfigError(f"{self._path}: is damaged: {found}; move it away to begin a new one")

    def close(self) -> None:
        """Close the file; a second call does nothing."""
        self._database.close()

    def save(self, record: Record) -> None:
        """Store a session, new or changed; its columns are the fields of `Record`."""
        values = {f.name: getattr(record, f.name) for f in fields(record)}
        values["labels"] = json.dumps(dict(record.labels))
        places = ", ".join(f":{name}" for name in values)
        self._write(f"REPLACE INTO sessions ({', '.join(values)}) VALUES ({places})", values)  # noqa: S608  names of our own

    def touch(self, session_id: str, last_activity: float) -> None:
        """Store when a session was last used."""
        self._write("UPDATE sessions SET last_activity = ? WHERE id = ?", (last_activity, session_id))

    def begin(self, record: Record, connection: Mapping[str, Any] | None) -> None:
        """Store a new session with its first kernel, both or neither.

        Parameters
        ----------
        connection: as for `connect`; None where `assign` gave the session a kernel that is stored as it is now.
        """
        if connection is None:
            self.save(record)
            return
        with self._transaction():
            self.save(record)
            self._connect(record.id, connection, record.id)

    def connect(self, kernel_id: str, connection: Mapping[str, Any], session_id: str = "") -> None:
        """Store a kernel and its sandbox until `disconnect`, or until the session ends.

        Parameters
        ----------
        connection: what a later process needs to reach the kernel: keys, identities, names of sockets. Its value
            ``sandbox``, an object with an ``id``, is of the sandbox, and the same for each of its kernels.
        session_id: the session that the sandbox belongs to; empty for a warm one.
        """
        with self._transaction():
            self._connect(kernel_id, connection, session_id)

    def _connect(self, kernel_id: str, connection: Mapping[str, Any], session_id: str) -> None:
        kernel = dict(connection)
        sandbox = kernel.pop("sandbox")
        self._write(
            "INSERT INTO sandboxes VALUES (?1, ?2, ?3) ON CONFLICT (id) DO UPDATE SET session = ?2, sandbox = ?3",
            (sandbox["id"], session_id, json.dumps(sandbox)),
        )
        self._write("REPLACE INTO kernels VALUES (?, ?, ?)", (kernel_id, sandbox["id"], json.dumps(kernel)))

    def reconnect(self, kernel_id: str, connection: Mapping[str, Any]) -> None:
        """Store how a kernel in the same sandbox is reached from now on; no-op for one that is not stored."""
        kernel = {name: value for name, value in connection.items() if name != "sandbox"}
        self._write("UPDATE kernels SET connection = ? WHERE id = ?", (json.dumps(kernel), kernel_id))

    def assign(self, kernel_id: str, session_id: str) -> None:
        """Give the sandbox of a warm kernel to a session, which may be stored later.

        Until then no process takes the sandbox for a warm one, and none finds it.
        """
        statement = "UPDATE sandboxes SET session = ? WHERE id = (SELECT sandbox FROM kernels WHERE id = ?)"
        self._write(statement, (session_id, kernel_id))

    def connections(self) -> dict[str, dict[str, Any]]:
        """Return the connections, as for `connect`, of the warm kernels and those of running sessions, by kernel id.

        A sandbox that was given to a session that was never stored is forgotten.
        """
        self._write(
            "DELETE FROM sandboxes WHERE session NOT IN (SELECT id FROM sessions WHERE ended IS NULL UNION SELECT '')",
            (),
        )
        statement = "SELECT k.id, connection, s.sandbox FROM kernels AS k JOIN sandboxes AS s ON s.id = k.sandbox"
        with closing(self._database.execute(statement)) as rows:
            return {row[0]: {**json.loads(row[1]), "sandbox": json.loads(row[2])} for row in rows}

    def disconnect(self, kernel_id: str) -> None:
        """Forget the sandbox of a kernel, with all its kernels; no-op for one that is not stored."""
        self._write("DELETE FROM sandboxes WHERE id = (SELECT sandbox FROM kernels WHERE id = ?)", (kernel_id,))

    def running(self) -> list[Record]:
        """Return the sessions that have not ended, those of earlier processes included, oldest first."""
        with closing(self._database.execute("SELECT * FROM sessions WHERE ended IS NULL ORDER BY created, id")) as rows:
            return [_record(row) for row in rows]

    def save_notebook(self, notebook: Mapping[str, str]) -> None:
        """Store ``id path name type kernel`` of a notebook session."""
        self._write("REPLACE INTO notebooks VALUES (:id, :path, :name, :type, :kernel)", notebook)

    def forget_notebook(self, notebook_id: str) -> None:
        """Delete a notebook session; no-op for an unknown one."""
        self._write("DELETE FROM notebooks WHERE id = ?", (notebook_id,))

    def notebooks(self) -> list[dict[str, str]]:
        """Return the notebook sessions of running kernels, and delete the others."""
        self._write("DELETE FROM notebooks WHERE kernel NOT IN (SELECT id FROM sessions WHERE ended IS NULL)", ())
        with closing(self._database.execute("SELECT * FROM notebooks")) as rows:
            return [dict(row) for row in rows]

    def note(self, session_id: str, reason: str) -> None:
        """Store the reason of an event in a session that runs on."""
        self._write("UPDATE sessions SET reason = ? WHERE id = ? AND ended IS NULL", (reason, session_id))

    def end(self, session_id: str, status: str, reason: str, when: float) -> None:
        """Store how a session ended, and forget its sandbox and kernels; no-op for a session that has ended already."""
        self._write(
            "UPDATE sessions SET status = ?, reason = ?, ended = ? WHERE id = ? AND ended IS NULL",
            (status, reason, when, session_id),
        )

    def end_all(self, status: str, reason: str, when: float) -> int:
        """End every running session; return how many those were."""
        statement = "UPDATE sessions SET status = ?, reason = ?, ended = ? WHERE ended IS NULL"
        return self._write(statement, (status, reason, when))

    def forget(self, ended_before: float) -> int:
        """Delete the sessions that ended before a time; return how many those were."""
        return self._write("DELETE FROM sessions WHERE ended < ?", (ended_before,))

    def get(self, session_id: str) -> Record | None:
        """Return a session, running or ended; None for an unknown one."""
        with closing(self._database.execute("SELECT * FROM sessions WHERE id = ?", (session_id,))) as rows:
            row = rows.fetchone()
        return _record(row) if row else None

    def records(self, owner: str, labels: Set[tuple[str, str]] = frozenset()) -> list[Record]:
        """Return an owner's sessions that have all of these labels, newest first.

        At most `MAX_RECORDS`: running sessions before ended ones, then the newest.
        """
        statement = "SELECT * FROM sessions WHERE owner = ? ORDER BY ended IS NOT NULL, created DESC, id"
        with closing(self._database.execute(statement, (owner,))) as rows:
            # a generator: the limit counts the rows that have the labels, and the rest is never read
            having = (row for row in rows if not labels or labels <= json.loads(row["labels"]).items())
            found = [_record(row) for row in islice(having, MAX_RECORDS)]
        return sorted(found, key=lambda record: -record.created)

    def query(self, statement: str, values: tuple[Any, ...]) -> list[sqlite3.Row]:
        """Return the rows of a statement on a table that another module owns. Raises `StoreFailed`."""
        try:
            with closing(self._database.execute(statement, values)) as rows:
                return rows.fetchall()
        except sqlite3.Error as error:
            raise StoreFailed(f"the gateway's store cannot be used: {error}") from error

    def _write(self, statement: str, values: Mapping[str, Any] | tuple[Any, ...]) -> int:
        """Execute a statement; return how many rows it changed. Raises `StoreFailed`."""
        try:
            return self._database.execute(statement, values).rowcount
        except sqlite3.Error as error:
            raise StoreFailed(f"the gateway's store cannot be written: {error}") from error

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """Make the writes of the body one: all of them are stored, or none. Raises `StoreFailed`."""
        # IMMEDIATE takes the lock now: a busy file fails here, before the first write
        self._write("BEGIN IMMEDIATE", ())
        try:
            yield
            self._write("COMMIT", ())
        except BaseException:
            # after some errors, such as a full disk, SQLite has rolled back by itself
            if self._database.in_transaction:
                self._database.execute("ROLLBACK")
            raise

    def _migrate(self) -> None:
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            # version and tables in one transaction, for a killed process; a PRAGMA takes no parameters
            self._database.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")


def _record(row: sqlite3.Row) -> Record:
    values = {f.name: row[f.name] for f in fields(Record)}
    flags = {f.name: bool(values[f.name]) for f in fields(Record) if f.type == "bool"}  # SQLite has no booleans
    return Record(**{**values, **flags, "labels": json.loads(values["labels"])})
