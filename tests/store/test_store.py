"""The store keeps every committed write, upgrades old files, and refuses files that it cannot read."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
from contextlib import closing
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandkasten_kernels.errors import ConfigError, StoreFailed
from sandkasten_kernels.sessions.views import info
from sandkasten_kernels.store import Record, Store
from sandkasten_kernels.store.migrations import MIGRATIONS

A = Record(
    id="a", owner="default", origin="v1", kernelspec="python3", image="python", sandbox="c1", acquire_source="pool",
    ttl_seconds=1800, created=1.5, last_activity=1.5, labels={"k": "v"},
)  # fmt: skip


def connection(sandbox: str, key: str = "k") -> dict[str, Any]:
    """Return how a kernel is reached, as `KernelRecord.as_json` has it."""
    spec = {"image": "python", "cpu_limit": 1.0, "mem_limit_mb": 512}
    left = {"id": sandbox, "spec": spec, "handle": "h", "key": "00ff", "workspace": "/workspace"}
    return {"id": "a", "key": key, "sockets": {"shell": "x"}, "pid": 7, "clients": {}, "sandbox": left}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.sqlite"


def test_what_was_written_is_there_for_the_next_process(path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; from sandkasten_kernels.store import Store\n"
        "from tests.store.test_store import A\n"
        "Store(Path(sys.argv[1])).save(A); os.kill(os.getpid(), 9)"
    )
    assert subprocess.run([sys.executable, "-c", program, str(path)], check=False).returncode == -9
    assert Store(path).get("a") == A
    assert path.stat().st_mode & 0o777 == 0o600


@given(texts=st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=3, max_size=3))
def test_any_text_comes_back(tmp_path_factory: pytest.TempPathFactory, texts: list[str]) -> None:
    store = Store(tmp_path_factory.mktemp("store") / "s")
    record = replace(A, name=texts[0], labels={texts[1]: texts[2]})
    store.save(record)
    assert store.get("a") == record
    store.close()


def test_sessions_are_listed_newest_first_and_by_owner(path: Path) -> None:
    store = Store(path)
    for number, owner in enumerate(["x", "y", "x"]):
        store.save(replace(A, id=str(number), owner=owner, created=float(number)))
    assert [record.id for record in store.records("x")] == ["2", "0"]
    assert store.records("z") == []


def test_the_list_ends_with_the_oldest_that_have_ended(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sandkasten_kernels.store.store.MAX_RECORDS", 3)
    store = Store(path)
    for number in range(6):
        store.save(replace(A, id=str(number), created=float(number), labels={"even": str(number % 2 == 0)}))
    for number in range(1, 6):
        store.end(str(number), "expired", "", 10.0)
    assert [record.id for record in store.records("default")] == ["5", "4", "0"]
    assert [record.id for record in store.records("default", {("even", "True")})] == ["4", "2", "0"]
    assert store.records("default", {("even", "True"), ("even", "False")}) == []


def test_an_end_is_told_once_and_forgotten_after_its_time(path: Path) -> None:
    store = Store(path)
    store.save(A)
    store.save(replace(A, id="b"))
    store.touch("a", 5.0)
    store.end("a", "expired", "idle for 3 s", 10.0)
    store.end("a", "destroyed", "later", 11.0)
    assert store.get("a") == replace(A, status="expired", reason="idle for 3 s", ended=10.0, last_activity=5.0)
    assert store.end_all("crashed", "the gateway ended", 20.0) == 1
    assert store.forget(15.0) == 1
    assert store.get("a") is None
    found = store.get("b")
    assert found
    assert found.status == "crashed"


def test_a_file_of_an_older_version_is_brought_up_to_date(path: Path) -> None:
    with sqlite3.connect(path) as old:
        assert old.execute("PRAGMA user_version").fetchone() == (0,)
    Store(path).close()
    with sqlite3.connect(path) as new:
        assert new.execute("PRAGMA user_version").fetchone() == (len(MIGRATIONS),)


@pytest.mark.parametrize("version", range(1, len(MIGRATIONS)))
def test_a_file_of_each_earlier_version_keeps_its_sessions_and_kernels(path: Path, version: int) -> None:
    """A store with a running session and, as far as its version knew them, its kernel, a warm one and a notebook."""
    notebook = {"id": "n", "path": "a.ipynb", "name": "a", "type": "notebook", "kernel": "a"}
    has_kernels, has_notebooks = version >= 3, version >= 5
    with closing(sqlite3.connect(path, isolation_level=None)) as old:
        old.executescript("".join(MIGRATIONS[:version]) + f"PRAGMA user_version = {version};")
        known = {row[1] for row in old.execute("PRAGMA table_info(sessions)")}
        columns = {field.name: getattr(A, field.name) for field in fields(Record) if field.name in known}
        columns["labels"] = json.dumps(columns["labels"])
        old.execute(
            f"INSERT INTO sessions ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})",
            list(columns.values()),
        )
        if has_kernels:
            rows = [
                ("a", json.dumps(connection("s1"))),
                ("warm", json.dumps(connection("s2"))),
                ("b", "{}"),
                ("c", "["),
            ]
            old.executemany("INSERT INTO connections VALUES (?, ?)", rows)
        if has_notebooks:
            old.execute("INSERT INTO notebooks VALUES (:id, :path, :name, :type, :kernel)", notebook)
    store = Store(path)
    assert store.running() == [A]
    assert store.connections() == ({"a": connection("s1"), "warm": connection("s2")} if has_kernels else {})
    assert store.notebooks() == ([notebook] if has_notebooks else [])
    store.assign("warm", "nobody")
    store.end("a", "destroyed", "", 10.0)
    assert store.connections() == {}


def test_the_columns_of_a_session_are_the_fields_of_its_record(path: Path) -> None:
    Store(path).close()
    with closing(sqlite3.connect(path)) as database:
        columns = {row[1] for row in database.execute("PRAGMA table_info(sessions)")}
    assert columns == {field.name for field in fields(Record)}


def test_a_new_field_is_one_line_in_the_record_and_one_migration(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stored, read again, shown by ``/v1``; the SDK's `SessionInfo`, which is published, gets it by hand."""
    Store(path).save(A)

    @dataclass(frozen=True, kw_only=True)
    class Longer(Record):
        project: str = ""

    migration = "ALTER TABLE sessions ADD COLUMN project TEXT NOT NULL DEFAULT '';"
    monkeypatch.setattr("sandkasten_kernels.store.store.Record", Longer)
    monkeypatch.setattr("sandkasten_kernels.store.store.MIGRATIONS", (*MIGRATIONS, migration))
    longer = Longer(**{**vars(A), "id": "b", "project": "p"})
    store = Store(path)
    store.save(longer)
    assert store.get("a") == Longer(**vars(A))
    assert store.get("b") == longer
    assert info(longer)["project"] == "p"


def test_a_newer_file_is_refused_untouched(path: Path) -> None:
    with closing(sqlite3.connect(path)) as newer:
        newer.execute("CREATE TABLE of_a_later_time (x)")
        newer.execute("PRAGMA user_version = 99")
    before = path.read_bytes()
    with pytest.raises(ConfigError, match=f"of version 99, this program knows {len(MIGRATIONS)}: use a newer one"):
        Store(path)
    assert path.read_bytes() == before


def test_a_damaged_file_is_refused_with_what_to_do(path: Path) -> None:
    store = Store(path)
    for number in range(200):
        store.save(replace(A, id=str(number), name="x" * 1000))
    store.close()
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ConfigError, match="move it away to begin a new one"):
        Store(path)
    damaged = b"not a database at all" * 100
    path.write_bytes(damaged)
    with pytest.raises(ConfigError, match="not a database; move it away"):
        Store(path)
    assert path.read_bytes() == damaged


def test_a_file_that_another_program_holds_is_refused_with_what_to_do(path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ConfigError, match="database is locked; another program uses it: end that"):
            Store(path)


def test_a_file_that_cannot_be_made_is_told() -> None:
    with pytest.raises(ConfigError, match="Not a directory"):
        Store(Path(__file__) / "store.sqlite")


def test_a_disk_that_is_full_is_told_in_words(path: Path) -> None:
    store = Store(path)
    store._database.execute("PRAGMA max_page_count = 1")
    records = [replace(A, id=str(number), name="x" * 1000) for number in range(100)]
    with pytest.raises(StoreFailed, match="cannot be written: database or disk is full"):
        list(map(store.save, records))


def test_whatever_keeps_a_write_from_being_done_is_told_in_words(path: Path) -> None:
    store = Store(path)
    with closing(sqlite3.connect(path)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreFailed, match="database is locked"):
            store.save(A)
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE sessions")
    with pytest.raises(StoreFailed, match="no such table"):
        store.touch("a", 1.0)
    store.close()
    with pytest.raises(StoreFailed, match="closed database"):
        store.save(A)


def test_how_a_kernel_is_reached_is_known_until_its_session_ends(path: Path) -> None:
    store = Store(path)
    store.begin(A, connection("s", "1"))
    store.reconnect("a", connection("s", "2"))
    store.reconnect("unknown", connection("s", "3"))
    assert Store(path).connections() == {"a": connection("s", "2")}
    store.save(replace(A, name="renamed"))
    assert store.connections() == {"a": connection("s", "2")}
    store.end("a", "destroyed", "", 10.0)
    assert store.connections() == {}


def test_kernels_of_one_sandbox_have_ids_of_their_own_and_end_with_it(path: Path) -> None:
    store = Store(path)
    store.begin(A, connection("s", "1"))
    store.connect("second", connection("s", "2"), session_id="a")
    store.connect("warm", connection("other"))
    assert store.connections() == {
        "a": connection("s", "1"),
        "second": connection("s", "2"),
        "warm": connection("other"),
    }
    store.end("a", "destroyed", "", 10.0)
    assert store.connections() == {"warm": connection("other")}
    store.disconnect("warm")
    assert store.connections() == {}


def test_a_warm_kernel_that_was_given_to_a_session_is_nobody_elses(path: Path) -> None:
    """Also if the process ends before it has stored the session: then no later process gives the sandbox to anybody."""
    store = Store(path)
    store.connect("a", connection("s"))
    store.connect("lost", connection("t"))
    store.assign("a", "a")
    store.assign("lost", "lost")
    store.begin(A, None)
    assert Store(path).connections() == {"a": connection("s")}


def test_a_claim_writes_two_rows_of_a_warm_kernel_and_commits_once_for_a_cold_one(path: Path) -> None:
    store = Store(path)
    store.connect("a", connection("s"))
    statements: list[str] = []
    store._database.set_trace_callback(lambda statement: statements.append(statement.split()[0]))
    store.assign("a", "a")
    store.begin(A, None)
    assert [word for word in statements if word in ("UPDATE", "REPLACE", "INSERT", "DELETE")] == ["UPDATE", "REPLACE"]
    statements.clear()
    store.begin(replace(A, id="b"), connection("t"))
    assert statements == ["BEGIN", "REPLACE", "INSERT", "REPLACE", "COMMIT"]


def test_a_session_is_stored_with_its_kernel_or_not_at_all(path: Path) -> None:
    store = Store(path)
    store._database.execute("CREATE TRIGGER t BEFORE INSERT ON kernels BEGIN SELECT RAISE(ABORT, 'no room'); END")
    with pytest.raises(StoreFailed, match="no room"):
        store.begin(A, connection("s"))
    assert (store.running(), store.connections()) == ([], {})
    store.save(A)


def test_a_warm_kernel_is_stored_with_its_sandbox_or_not_at_all(path: Path) -> None:
    with closing(Store(path)) as store, closing(sqlite3.connect(path)) as other:
        other.execute("CREATE TRIGGER no BEFORE INSERT ON kernels BEGIN SELECT RAISE(FAIL, 'no'); END")
        other.commit()
        with pytest.raises(StoreFailed):
            store.connect("kernel", connection("sandbox"))
        assert other.execute("SELECT count(*) FROM sandboxes").fetchone() == (0,)
