"""Migrations: the scripts that made the database what it is, from the first version to this one."""

from __future__ import annotations

__all__ = ["MIGRATIONS"]

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
    """
    CREATE TABLE sandboxes (id TEXT PRIMARY KEY, session TEXT NOT NULL, sandbox TEXT NOT NULL) STRICT;
    CREATE TABLE kernels (id TEXT PRIMARY KEY, sandbox TEXT NOT NULL, connection TEXT NOT NULL) STRICT;
    INSERT INTO sandboxes
        SELECT json_extract(connection, '$.sandbox.id'),
            CASE WHEN session IN (SELECT id FROM sessions) THEN session ELSE '' END,
            json_extract(connection, '$.sandbox')
        FROM connections WHERE json_valid(connection) AND json_type(connection, '$.sandbox.id') = 'text';
    INSERT INTO kernels
        SELECT session, json_extract(connection, '$.sandbox.id'), json_remove(connection, '$.sandbox')
        FROM connections WHERE json_valid(connection) AND json_type(connection, '$.sandbox.id') = 'text';
    DROP TRIGGER connections_end;
    DROP TABLE connections;
    CREATE TRIGGER sandboxes_end AFTER DELETE ON sandboxes
    BEGIN DELETE FROM kernels WHERE sandbox = OLD.id; END;
    CREATE TRIGGER sessions_end AFTER UPDATE OF ended ON sessions WHEN NEW.ended IS NOT NULL
    BEGIN DELETE FROM sandboxes WHERE session = NEW.id; END;
    ALTER TABLE sessions ADD COLUMN team TEXT NOT NULL DEFAULT '';
    """,
)
"""Script N brings the database from version N to N + 1. Never change a released script; append a new one."""
