"""The file that the settings are saved in: whole whatever happens, and one to start with."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from sandkasten_kernels.config.configuration import Configuration
from sandkasten_kernels.config.editor import SettingsEditor
from sandkasten_kernels.config.file import MAX_BYTES, SettingsFile
from sandkasten_kernels.config.keys import Keys
from sandkasten_kernels.config.settings import Settings as Given
from sandkasten_kernels.config.settings import file_settings
from sandkasten_kernels.config.traits import SECTIONS
from sandkasten_kernels.errors import InvalidSettings, SettingsChanged, SettingsReadOnly
from sandkasten_kernels.gateway.checks import check_settings
from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api
from tests.support.settings_client import CONFIG, KEY, SettingsClient
from tests.support.waiting import eventually_blocking


@pytest.mark.docker
async def test_without_a_file_one_in_the_data_directory_is_made_and_read(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path, config=None, arguments=("--Pool.enabled=false",)) as gateway:
        async with Api(gateway.url, gateway.token) as api:
            settings = SettingsClient(api, gateway)
            settings.file = gateway.data_dir / "settings.yaml"
            model = await settings.model()
            assert (model["file"], model["exists"], model["text"]) == (str(settings.file), False, "")
            await settings.change("session_ttl_seconds", 123)
            assert settings.file.read_text() == "session_ttl_seconds: 123\n"
            assert settings.file.stat().st_mode & 0o777 == 0o600
            told = await settings.refused(text="data_dir: /elsewhere\n")
            assert "a file in data_dir cannot set data_dir" in told["data_dir"]
            settings.file.unlink()
            answer = await settings.put(changes={"session_ttl_seconds": 321, "on_stop": "keep"})
            assert answer["applied"] == ["session_ttl_seconds", "on_stop"]
            session = json.loads((await api.request("POST", "/v1/sessions", {})).body)["id"]
        gateway.stop()
        gateway.start()
        async with Api(gateway.url, gateway.token) as api:
            settings = SettingsClient(api, gateway)
            found = await settings.setting("session_ttl_seconds")
            assert (found["value"], found["source"]) == (321, "file")
            assert (await api.get(f"/v1/sessions/{session}"))["status"] == "running"
            await settings.change("on_stop", None)


def test_a_save_that_is_killed_leaves_a_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "sandkasten.yaml"
    file.write_text("a" * 50_000)
    script = (
        "import sys, pathlib\n"
        "from sandkasten_kernels.config.file import SettingsFile\n"
        "file = SettingsFile(pathlib.Path(sys.argv[1]))\n"
        "print('ready', flush=True)\n"
        "while True:\n"
        "    for letter in 'ab': file.save(letter * 50_000, file.read()[1])\n"
    )
    for _ in range(5):
        process = subprocess.Popen([sys.executable, "-c", script, str(file)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        backup = tmp_path / "sandkasten.yaml.bak"
        before = backup.stat().st_mtime_ns if backup.exists() else 0
        eventually_blocking(lambda: backup.exists() and backup.stat().st_mtime_ns != before, interval=0)  # noqa: B023
        assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.wait()
        process.stdout.close()
        for path in (file, backup):
            assert path.read_text() in ("a" * 50_000, "b" * 50_000)

        for left in tmp_path.glob(".*"):
            os.utime(left, (0, 0))
    file.write_text("a")
    own = SettingsFile(file)
    own.save("b", own.read()[1])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["sandkasten.yaml", "sandkasten.yaml.bak"]


def test_a_file_behind_a_link_is_replaced_where_it_is(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    real, link = tmp_path / "real" / "x.yaml", tmp_path / "link.yaml"
    real.write_text("a: 1\n")
    link.symlink_to(real)
    file = SettingsFile(link)
    file.save("a: 2\n", file.read()[1])
    assert link.is_symlink()
    assert real.read_text() == "a: 2\n"
    assert (tmp_path / "real" / "x.yaml.bak").read_text() == "a: 1\n"
    with pytest.raises(SettingsChanged):
        file.save("a: 3\n", "another version")


NAMES = [key.name for key in Keys(SECTIONS)]


async def no_warnings(settings: Given) -> list[dict[str, str]]:
    """Find nothing to warn of."""
    return []


def editor_of(path: Path, **parts: Any) -> tuple[SettingsEditor, SettingsFile]:
    """Return an editor of a file alone, with the real check, and the file."""
    file = SettingsFile(path)
    configuration = Configuration(file_settings(path, SECTIONS), file, Given(SECTIONS))
    given_parts = {"check": check_settings, "warnings_of": no_warnings, "apply": lambda settings: None, **parts}
    return SettingsEditor(configuration, log=logging.getLogger("none"), **given_parts), file


async def test_one_save_checks_once_and_asks_the_engine_once(tmp_path: Path) -> None:
    path = tmp_path / "sandkasten.yaml"
    path.write_text(CONFIG)
    checked: list[int] = []
    asked: list[int] = []

    def check(settings: Given) -> None:
        checked.append(settings.value("session_ttl_seconds"))
        check_settings(settings)

    async def warnings_of(settings: Given) -> list[dict[str, str]]:
        asked.append(settings.value("session_ttl_seconds"))
        return [{"name": "images", "message": "not built"}]

    editor, file = editor_of(path, check=check, warnings_of=warnings_of)
    saved = await editor.save(file.read()[1], {"session_ttl_seconds": 60}, {}, None, dry_run=False)
    assert (saved["saved"], checked, asked) == (True, [60], [60])
    assert saved["settings"] == await editor.model()


async def test_a_save_that_loses_a_comment_says_so_and_does_not_show_it(tmp_path: Path) -> None:
    path = tmp_path / "sandkasten.yaml"
    path.write_text("env_names:\n- A  # password: hunter2\n")
    editor, file = editor_of(path)
    tried = await editor.save(file.read()[1], {"env_names": None}, {}, None, dry_run=True)
    saved = await editor.save(file.read()[1], {"env_names": None}, {}, None, dry_run=False)
    message = f"1 comment of the file is not in the new one; the old file is kept as {path}.bak"
    assert tried["warnings"] == saved["warnings"] == [{"name": "", "message": message}]
    assert saved["settings"]["warnings"] == []
    again = await editor.save(file.read()[1], {"session_ttl_seconds": 60}, {}, None, dry_run=False)
    assert again["warnings"] == []


ODD = st.one_of(
    st.none(), st.booleans(), st.integers(-3, 2**40), st.floats(), st.text(max_size=8),
    st.lists(st.text(max_size=4), max_size=2), st.dictionaries(st.text(max_size=4), st.integers(-1, 3), max_size=2),
    st.sampled_from(["python", "none", {"python": 1}, ["base"], 1, 64, 600, 0.5]),
)  # fmt: skip


@given_settings(max_examples=30, deadline=None)
@given(changes=st.dictionaries(st.sampled_from([*NAMES, "nothing", "pool.", ""]), ODD, max_size=3))
@example(changes={"images": {"a": {"from": "base"}}, "pool.images": {"a": 1}})
@example(changes={"api_key": "\x85 \u2028"})
def test_whatever_is_sent_the_file_is_one_to_start_with(changes: dict[str, Any]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "sandkasten.yaml"
        path.write_text(CONFIG)
        applied: list[Any] = []
        editor, file = editor_of(path, apply=applied.append)
        try:
            asyncio.run(editor.save(file.read()[1], changes, {}, None, dry_run=False))
        except InvalidSettings:
            changes = {}
        if not changes:
            assert path.read_text() == CONFIG
            assert not applied
        found = file_settings(path, SECTIONS)
        check_settings(found)
        for name, value in changes.items():
            key = Keys(SECTIONS)[tuple(name.split("."))]
            assert found.value(*key.path) == (key.default() if value is None else value)
        text = path.read_text()
        assert "# The gateway of the third floor." in text
        assert "  # many, because of the course" in text


def test_what_is_no_configuration_is_not_read(tmp_path: Path) -> None:
    large, binary = tmp_path / "large", tmp_path / "binary"
    large.write_bytes(b"#" * (MAX_BYTES + 1))
    binary.write_bytes(b"\xff\xfe")
    for path in (large, binary, tmp_path):
        with pytest.raises(SettingsReadOnly):
            SettingsFile(path).read()
    assert SettingsFile(tmp_path / "nothing").read()[0] == ""


@pytest.mark.docker
async def test_the_text_is_saved_with_one_backup_and_a_dry_run_saves_nothing(settings: SettingsClient) -> None:
    model = await settings.model()
    text = model["text"].replace("python: 1", "python: 2")
    answer = await settings.put(text=text, version=model["version"], dry_run=True)
    assert answer == {"saved": False, "errors": [], "warnings": [], "applied": ["pool.images"], "after_restart": []}
    answer = await settings.put(text="pool: {max_starting: 0}\n", version=model["version"], dry_run=True)
    assert [(error["name"], error["line"]) for error in answer["errors"]] == [("pool.max_starting", 1)]
    assert settings.file.read_text() == CONFIG
    settings.file.chmod(0o640)
    assert (await settings.put(text=text, version=model["version"]))["saved"] is True
    assert settings.file.read_text() == CONFIG.replace("python: 1", "python: 2")
    backup = settings.file.with_name("sandkasten.yaml.bak")
    assert backup.read_text() == CONFIG
    assert {path.stat().st_mode & 0o777 for path in (settings.file, backup)} == {0o640}
    again = await settings.put(text=text)
    assert again["saved"] is False
    assert backup.read_text() == CONFIG
    assert sorted(path.name for path in settings.file.parent.iterdir()) == [
        "data", "gateway.log", "sandkasten.yaml", "sandkasten.yaml.bak",
    ]  # fmt: skip


@pytest.mark.docker
async def test_a_file_that_gets_a_key_is_its_owners_alone(settings: SettingsClient) -> None:
    backup = settings.file.with_name("sandkasten.yaml.bak")

    async def modes(before: int, **body: Any) -> set[int]:
        settings.file.chmod(before)
        assert (await settings.put(**body))["saved"] is True
        return {path.stat().st_mode & 0o777 for path in (settings.file, backup)}

    try:
        assert await modes(0o640, changes={"session_ttl_seconds": 60}) == {0o640}
        assert await modes(0o640, changes={"api_key": "another-key-4711"}) == {0o600}
        assert await modes(0o644, changes={"session_ttl_seconds": 61}) == {0o600}
        assert await modes(0o644, text="session_ttl_seconds: 62\n") == {0o644}
        assert await modes(0o644, text="api_key: yet-another-4712\n") == {0o600}
    finally:
        settings.file.chmod(0o644)


@pytest.mark.parametrize(
    ("path", "own", "option"),
    [
        ("/etc/sk.yaml", False, "--config=/etc/sk.yaml"),
        ("/a b/settings.yaml", False, "'--config=/a b/settings.yaml'"),
        ("/var/lib/sandkasten/settings.yaml", True, "--data-dir=/var/lib/sandkasten"),
    ],
)
def test_a_command_that_is_told_reads_the_file_that_was_saved(path: str, own: bool, option: str) -> None:
    assert SettingsFile(Path(path), own=own).option == option


@pytest.mark.docker
async def test_a_file_edited_by_hand_is_seen_and_not_written_over(settings: SettingsClient) -> None:
    version = (await settings.model())["version"]
    settings.file.write_text(CONFIG + "session_ttl_seconds: 5\n")
    await settings.put(409, version=version, changes={"kernel_ttl_seconds": 5})
    found = await settings.setting("session_ttl_seconds")
    assert (found["value"], found["running"], found["after_restart"]) == (5, 1800, True)
    settings.file.write_text(CONFIG + "session_ttl_seconds: five\n")
    model = await settings.model()
    assert [error["name"] for error in model["errors"]] == ["session_ttl_seconds"]
    await settings.put(text=model["text"].replace("five", "55"))
    assert (await settings.setting("session_ttl_seconds"))["running"] == 55
    settings.file.write_text(f"api_key: {KEY}\npool: [\n")
    model = await settings.model()
    assert "repair it on the machine first" in model["read_only"]
    assert model["text"] is None
    await settings.put(403, text="pool: {}\n")


@pytest.mark.docker
async def test_a_file_that_may_not_be_written_is_read_only(settings: SettingsClient) -> None:
    settings.file.chmod(0o444)
    try:
        assert "may not write to" in (await settings.model())["read_only"]
        assert (await settings.change("session_ttl_seconds", 5, 403))["error_code"] == "SETTINGS_READ_ONLY"
        assert settings.file.read_text() == CONFIG
    finally:
        settings.file.chmod(0o644)
