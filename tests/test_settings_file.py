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

from sandkasten_kernels.app import SECTIONS
from sandkasten_kernels.checks import check_settings
from sandkasten_kernels.errors import InvalidSettings, SettingsChanged, SettingsReadOnly
from sandkasten_kernels.keys import Keys
from sandkasten_kernels.settings import Settings as Given
from sandkasten_kernels.settings import file_settings
from sandkasten_kernels.settings_editor import SettingsEditor
from sandkasten_kernels.settings_file import MAX_BYTES, SettingsFile

from .gateway import Gateway
from .kernel_client import Api
from .settings_client import CONFIG, Settings


@pytest.mark.docker
async def test_without_a_file_one_in_the_data_directory_is_made_and_read(tmp_path: Path) -> None:
    with Gateway(tmp_path, config=None, arguments=("--Pool.enabled=false",)) as gateway:
        async with Api(gateway.url, gateway.token) as api:
            settings = Settings(api, gateway)
            settings.file = gateway.data_dir / "settings.yaml"
            model = await settings.model()
            assert (model["file"], model["exists"], model["text"]) == (str(settings.file), False, "")
            await settings.change("session_ttl_seconds", 123)
            assert settings.file.read_text() == "session_ttl_seconds: 123\n"
            assert settings.file.stat().st_mode & 0o777 == 0o600
            told = await settings.refused(text="data_dir: /elsewhere\n")
            assert "this file lies in data_dir" in told["data_dir"]
            settings.file.unlink()
            answer = await settings.put(changes={"session_ttl_seconds": 321, "on_stop": "keep"})
            assert answer["applied"] == ["session_ttl_seconds", "on_stop"]
            session = json.loads((await api.request("POST", "/v1/sessions", {})).body)["id"]
        gateway.stop()
        gateway.start()
        async with Api(gateway.url, gateway.token) as api:
            settings = Settings(api, gateway)
            found = await settings.setting("session_ttl_seconds")
            assert (found["value"], found["source"]) == (321, "file")
            assert (await api.get(f"/v1/sessions/{session}"))["status"] == "running"
            await settings.change("on_stop", None)
    gateway.assert_nothing_left()


def test_a_save_that_is_killed_leaves_a_whole_file(tmp_path: Path) -> None:
    file = tmp_path / "sandkasten.yaml"
    file.write_text("a" * 50_000)
    script = (
        "import sys, pathlib\n"
        "from sandkasten_kernels.settings_file import SettingsFile\n"
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
        while not backup.exists() or backup.stat().st_mtime_ns == before:
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
        file, started = SettingsFile(path), file_settings(path, SECTIONS)
        editor = SettingsEditor(file, SECTIONS, Given(SECTIONS), started, applied.append, logging.getLogger("none"))
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
