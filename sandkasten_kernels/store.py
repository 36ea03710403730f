"""The store: what is known of every session, in SQLite, so that it outlives a request and the process.

A write is done when the method returns: committed to the write-ahead log, which a killed process does not lose. No
value of an environment is ever stored.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Set
from contextlib import closing
from dataclasses import dataclass, field, fields
from itertools import islice
from pathlib import Path
from typing import Any

from .errors import ConfigError, StoreFailed

__all__ = ["Record", "Store"]

BUSY_SECONDS = 0.2
"""So long a call waits for another process that looks into the file; everything waits with it."""
MAX_RECORDS = 1000
WAYS_OUT = {
    sqlite3.SQLITE_BUSY: "another program uses it: end that",
    sqlite3.SQLITE_FULL: "make room on its disk",
    sqlite3.SQLITE_IOERR: "look whether its disk is full, or failing",
    sqlite3.SQLITE_READONLY: "it must be writable",
    sqlite3.SQLITE_CANTOPEN: "it must be a file that can be opened, in a directory that can be written",
}
"""What to do by SQLite's primary result code; nothing is destroyed then."""

MIGRATIONS = (
    """
    CREATE TABLE sessions (
        id TEXT PRIMARY KEY, owner TEXT NOT NULL, origin TEXT NOT NULL, kernelspec TEXT NOT NULL, image TEXT NOT NULL,
        sandbox TEXT NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL, name TEXT NOT NULL, labels TEXT NOT NULL,
        ttl_seconds REAL NOT NULL, created REAL NOT NULL, last_activity REAL NOT NULL, ended REAL,
        acquire_source TEXT NOT NULL, acquire_detail TEXT NOT NULL
    ) STRICT;
    CREATE INDEX sessions_of_owner ON sessions (owner, created);
    """,
    "ALTER TABLE sessions ADD COLUMN workspace_id TEXT NOT NULL DEFAULT '';",
    """
    CREATE TABLE connections (session TEXT PRIMARY KEY, connection TEXT NOT NULL) STRICT;
    CREATE TRIGGER connections_end AFTER UPDATE OF ended ON sessions WHEN NEW.ended IS NOT NULL
    BEGIN DELETE FROM connections WHERE session = NEW.id; END;
    """,
    """
    CREATE TABLE events (
        id INTEGER PRIMARY KEY AUTOINCREMENT, time REAL NOT NULL, kind TEXT NOT NULL, session_id TEXT NOT NULL,
        reason TEXT NOT NULL, details TEXT NOT NULL
    ) STRICT;
    ALTER TABLE sessions ADD COLUMN max_lifetime_seconds REAL NOT NULL DEFAULT 0;
    ALTER TABLE sessions ADD COLUMN cull_connected INTEGER NOT NULL DEFAULT 0;
    ALTER TABLE sessions ADD COLUMN cull_busy INTEGER NOT NULL DEFAULT 0;
    """,
    """
    CREATE TABLE notebooks (
        id TEXT PRIMARY KEY, path TEXT NOT NULL, name TEXT NOT NULL, type TEXT NOT NULL, kernel TEXT NOT NULL
    ) STRICT;
    """,
)
"""Each brings the database from the version of its index to the next; never changed once released, only added to."""


@dataclass(frozen=True, kw_only=True)
class Record:
    """One session as it is stored; times are seconds since 1970.

    Attributes
    ----------
    origin: the API that made it, ``api`` or ``v1``.
    sandbox: how the engine calls its sandbox.
    status: ``running``, or how it ended: ``expired``, ``destroyed``, ``crashed``.
    reason: why it ended, or while it runs, how its kernel's last process did.
    ttl_seconds: how long it lives without being used; 0 for ever.
    max_lifetime_seconds: how long it lives however it is used; 0 for ever.
    cull_connected, cull_busy: whether it ends also while a client is connected, and while something runs.
    workspace_id: name of its workspace; empty for one that went with it.
    """

    id: str
    owner: str
    origin: str
    kernelspec: str
    image: str
    sandbox: str
    acquire_source: str
    ttl_seconds: float
    created: float
    last_activity: float
    acquire_detail: str = ""
    status: str = "running"
    reason: str = ""
    name: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    ended: float | None = None
    workspace_id: str = ""
    max_lifetime_seconds: float = 0.0
    cull_connected: bool = False
    cull_busy: bool = False


class Store:
    """Opens the database at ``path`` and brings it up to date; one process at a time.

    Raises `ConfigError` when it is damaged, or of a newer version than this program knows. What writes raises
    `StoreFailed`, where the disk is full for instance.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        try:
            path.touch(mode=0o600)
            self._database = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            self._database.row_factory = sqlite3.Row
            self._check()
            self._database.execute("PRAGMA journal_mode = WAL")
            self._database.execute("PRAGMA synchronous = NORMAL")
            self._migrate()
        except sqlite3.Error as error:
            way_out = WAYS_OUT.get(error.sqlite_errorcode & 0xFF, "move it away to begin a new one")
            raise ConfigError(f"{path}: cannot be used: {error}; {way_out}") from error
        except OSError as error:
            raise ConfigError(f"{path}: cannot be used: {error.strerror}") from error

    def _check(self) -> None:
        """Raise unless the file is whole and of a version that is known; nothing is changed before that."""
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        if version > len(MIGRATIONS):
            raise ConfigError(
                f"{self._path}: of version {version}, this program knows {len(MIGRATIONS)}: use a newer one"
            )
        (found,) = self._database.execute("PRAGMA quick_check(1)").fetchone()
        if found != "ok":
            raise ConfigError(f"{self._path}: is damaged: {found}; move it away to begin a new one")

    def close(self) -> None:
        """Give the file back; a second call does nothing."""
        self._database.close()

    def save(self, record: Record) -> None:
        """Store a session, new or changed; its columns are the fields of `Record`."""
        values = {f.name: getattr(record, f.name) for f in fields(record)}
        values["labels"] = json.dumps(dict(record.labels))
        places = ", ".join(f":{name}" for name in values)
        self._write(f"REPLACE INTO sessions ({', '.join(values)}) VALUES ({places})", values)  # noqa: S608  names of our own

    def touch(self, session_id: str, last_activity: float) -> None:
        """Note when a session was last used."""
        self._write("UPDATE sessions SET last_activity = ? WHERE id = ?", (last_activity, session_id))

    def connect(self, session_id: str, connection: Mapping[str, Any]) -> None:
        """Keep what it takes to reach a session's kernel: keys, identities, names of sockets. Gone when it ends."""
        self._write("REPLACE INTO connections VALUES (?, ?)", (session_id, json.dumps(connection)))

    def connection(self, session_id: str) -> dict[str, Any] | None:
        """Return what `connect` was told last; None when nothing was, or the session has ended."""
        statement = "SELECT connection FROM connections WHERE session = ?"
        row = self._database.execute(statement, (session_id,)).fetchone()
        return dict(json.loads(row[0])) if row else None

    def connections(self) -> dict[str, dict[str, Any]]:
        """Return how each kernel is reached of which that is known, those of the pool too, by their ids."""
        with closing(self._database.execute("SELECT * FROM connections")) as rows:
            return {row[0]: dict(json.loads(row[1])) for row in rows}

    def disconnect(self, kernel_id: str) -> None:
        """Forget how a kernel is reached; no-op for one that is not known."""
        self._write("DELETE FROM connections WHERE session = ?", (kernel_id,))

    def running(self) -> list[Record]:
        """Return the sessions that have not ended, those of an earlier process too, oldest first."""
        with closing(self._database.execute("SELECT * FROM sessions WHERE ended IS NULL ORDER BY created, id")) as rows:
            return [_record(row) for row in rows]

    def save_notebook(self, notebook: Mapping[str, str]) -> None:
        """Keep ``id path name type kernel`` of a notebook session."""
        self._write("REPLACE INTO notebooks VALUES (:id, :path, :name, :type, :kernel)", notebook)

    def forget_notebook(self, notebook_id: str) -> None:
        """Forget a notebook session; no-op for one that is not known."""
        self._write("DELETE FROM notebooks WHERE id = ?", (notebook_id,))

    def notebooks(self) -> list[dict[str, str]]:
        """Return the notebook sessions whose kernels have not ended; the others are forgotten."""
        self._write("DELETE FROM notebooks WHERE kernel NOT IN (SELECT id FROM sessions WHERE ended IS NULL)", ())
        with closing(self._database.execute("SELECT * FROM notebooks")) as rows:
            return [dict(row) for row in rows]

    def note(self, session_id: str, reason: str) -> None:
        """Note what has happened to a session that lives on."""
        self._write("UPDATE sessions SET reason = ? WHERE id = ? AND ended IS NULL", (reason, session_id))

    def end(self, session_id: str, status: str, reason: str, when: float) -> None:
        """Note how a session ended; the first word stands."""
        self._write(
            "UPDATE sessions SET status = ?, reason = ?, ended = ? WHERE id = ? AND ended IS NULL",
            (status, reason, when, session_id),
        )

    def end_all(self, status: str, reason: str, when: float) -> int:
        """End what an earlier process left as running; return how many those were."""
        statement = "UPDATE sessions SET status = ?, reason = ?, ended = ? WHERE ended IS NULL"
        return self._write(statement, (status, reason, when))

    def forget(self, ended_before: float) -> int:
        """Remove the sessions that ended before a time; return how many those were."""
        return self._write("DELETE FROM sessions WHERE ended < ?", (ended_before,))

    def get(self, session_id: str) -> Record | None:
        """Return a session, running or ended; None for one that is not known."""
        with closing(self._database.execute("SELECT * FROM sessions WHERE id = ?", (session_id,))) as rows:
            row = rows.fetchone()
        return _record(row) if row else None

    def records(self, owner: str, labels: Set[tuple[str, str]] = frozenset()) -> list[Record]:
        """Return an owner's sessions that have these labels, newest first.

        Of more than `MAX_RECORDS` the oldest are left out, and those that have ended before those that run.
        """
        statement = "SELECT * FROM sessions WHERE owner = ? ORDER BY ended IS NOT NULL, created DESC, id"
        with closing(self._database.execute(statement, (owner,))) as rows:
            having = (row for row in rows if not labels or labels <= json.loads(row["labels"]).items())
            found = [_record(row) for row in islice(having, MAX_RECORDS)]
        return sorted(found, key=lambda record: -record.created)

    def query(self, statement: str, values: tuple[Any, ...]) -> list[sqlite3.Row]:
        """Return the rows of a statement for a table that is another module's. Raises `StoreFailed`."""
        try:
            with closing(self._database.execute(statement, values)) as rows:
                return rows.fetchall()
        except sqlite3.Error as error:
            raise StoreFailed(f"the gateway's store cannot be used: {error}") from error

    def _write(self, statement: str, values: Mapping[str, Any] | tuple[Any, ...]) -> int:
        """Return how many rows a statement has changed. Raises `StoreFailed`."""
        try:
            return self._database.execute(statement, values).rowcount
        except sqlite3.Error as error:
            raise StoreFailed(f"the gateway's store cannot be written: {error}") from error

    def _migrate(self) -> None:
        (version,) = self._database.execute("PRAGMA user_version").fetchone()
        for number, script in enumerate(MIGRATIONS[version:], version + 1):
            self._database.executescript(f"BEGIN; {script} PRAGMA user_version = {number}; COMMIT;")


def _record(row: sqlite3.Row) -> Record:
    values = {f.name: row[f.name] for f in fields(Record)}
    flags = {f.name: bool(values[f.name]) for f in fields(Record) if f.type == "bool"}  # SQLite has no booleans
    return Record(**{**values, **flags, "labels": json.loads(values["labels"])})
