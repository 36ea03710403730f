"""The settings over HTTP: shown with their sources, checked before they are saved, and in force without a restart."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import example, given
from hypothesis import settings as given_settings
from hypothesis import strategies as st

from sandkasten_kernels import image_warnings
from sandkasten_kernels.app import SECTIONS
from sandkasten_kernels.checks import check_settings
from sandkasten_kernels.errors import EngineError, InvalidSettings, SettingsChanged, SettingsReadOnly
from sandkasten_kernels.keys import Keys
from sandkasten_kernels.live_settings import APPLIES
from sandkasten_kernels.paths import asset_dir
from sandkasten_kernels.settings import Settings as Given
from sandkasten_kernels.settings import file_settings
from sandkasten_kernels.settings_editor import SettingsEditor
from sandkasten_kernels.settings_file import MAX_BYTES, SettingsFile

from .gateway import Gateway
from .kernel_client import PATIENCE_SECONDS, Api

docker = pytest.mark.docker
KEY = "a-key-of-the-operators-0815"
CONFIG = f"""\
# The gateway of the third floor.
api_key: {KEY}  # {KEY} since May
pool:
  # many, because of the course
  images:
    python: 1  # warm
limits: {{max_sandboxes: 8}}
"""


class Settings:
    """``/v1/settings`` of a gateway whose file can be looked at."""

    def __init__(self, api: Api, gateway: Gateway) -> None:
        self.api = api
        self.gateway = gateway
        self.file = gateway.config

    async def model(self) -> dict[str, Any]:
        return dict(await self.api.get("/v1/settings"))

    async def setting(self, name: str) -> dict[str, Any]:
        model = await self.model()
        return next(found for section in model["sections"] for found in section["settings"] if found["name"] == name)

    async def put(self, code: int = 200, **body: Any) -> dict[str, Any]:
        """Return what a save answers, which has this status; the version is the file's where none is given."""
        if "version" not in body:
            body["version"] = (await self.model())["version"]
        response = await self.api.request("PUT", "/v1/settings", body)
        assert response.code == code, response.body
        assert KEY.encode() not in response.body
        return dict(json.loads(response.body))

    async def change(self, name: str, value: Any, code: int = 200) -> dict[str, Any]:
        return await self.put(code, changes={name: value})

    async def refused(self, **body: Any) -> dict[str, str]:
        """Return the message at each field of a save that is refused, and has changed nothing."""
        before = self.file.read_bytes()
        answer = await self.put(400, **body)
        assert answer["error_code"] == "INVALID_SETTINGS"
        assert self.file.read_bytes() == before
        return {error["name"]: error["message"] for error in answer["details"]["errors"]}


@pytest.fixture(scope="module")
def own_gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    folder = tmp_path_factory.mktemp("settings")
    with Gateway(folder, config=CONFIG, env={"SANDKASTEN_CPU_LIMIT": "0.5"}) as gateway:
        gateway.token = KEY
        yield gateway
        assert KEY not in gateway.log.read_text()
    gateway.assert_nothing_left()


@pytest.fixture
async def settings(own_gateway: Gateway) -> AsyncIterator[Settings]:
    async with Api(own_gateway.url, own_gateway.token) as api:
        found = Settings(api, own_gateway)
        await found.put(text=(await found.model())["text"])
        yield found
        own_gateway.config.write_text(CONFIG)
        await found.change("retention_seconds", 3599)  # puts what the file says in force
        own_gateway.config.write_text(CONFIG)


async def until_pool(api: Api, **figures: int) -> None:
    """Return when the pool has these figures."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not figures.items() <= (await api.pool()).items():
            await asyncio.sleep(0.05)


@docker
async def test_every_setting_is_shown_with_what_it_is_and_where_it_comes_from(settings: Settings) -> None:
    model = await settings.model()
    shown = {found["name"]: found for section in model["sections"] for found in section["settings"]}
    assert list(shown) == [key.name for key in Keys(SECTIONS)]
    assert set(APPLIES) <= set(shown)
    assert model["read_only"] == ""
    assert model["errors"] == []
    assert shown["pool.images"]["value"] == {"python": 1}
    assert shown["pool.images"]["default"] == {"python": 2}
    assert shown["pool.images"]["type"]["kind"] == "numbers"
    assert (shown["pool.images"]["source"], shown["pool.images"]["place"]) == ("file", f"{settings.file}:5")
    assert (shown["listen"]["source"], shown["listen"]["editable"]) == ("command line", False)
    assert shown["defaults.cpu_limit"]["source"] == "environment"
    assert shown["defaults.cpu_limit"]["place"] == "SANDKASTEN_CPU_LIMIT"
    assert (shown["base_url"]["source"], shown["base_url"]["applies"]) == ("default", "after restart")
    assert shown["log_level"]["value"] == "INFO"
    assert shown["log_level"]["type"]["choices"] == ["DEBUG", "INFO", "WARN", "ERROR", "CRITICAL"]
    assert shown["workspace.ephemeral"]["type"]["choices"] == ["tmpfs", "disk"]
    assert shown["session_ttl_seconds"]["type"] | {"expected": ""} == {
        "kind": "integer", "min": 0, "max": 86400, "expected": "",
    }  # fmt: skip
    assert not any(found["after_restart"] for found in shown.values())


@docker
async def test_a_secret_is_never_sent_and_never_lost(settings: Settings) -> None:
    response = await settings.api.request("GET", "/v1/settings")
    assert KEY.encode() not in response.body
    key = await settings.setting("api_key")
    assert key["set"] is True
    assert "value" not in key
    assert "default" not in key
    text = (await settings.model())["text"]
    await settings.put(text=text.replace("third", "fourth"))
    assert settings.file.read_text() == CONFIG.replace("third", "fourth")
    await settings.change("session_ttl_seconds", 60)
    assert settings.file.read_text() == CONFIG.replace("third", "fourth") + "session_ttl_seconds: 60\n"
    told = await settings.refused(text="default_image: __kept__\n")
    assert told.keys() == {"default_image"}
    answer = await settings.change("api_key", "another-key-4711")
    assert answer["after_restart"] == ["api_key"]
    assert "4711" not in json.dumps(answer)
    assert (await settings.setting("api_key"))["after_restart"] is True


@docker
async def test_the_pool_follows_its_size(settings: Settings) -> None:
    await until_pool(settings.api, warm=1, starting=0)
    answer = await settings.change("pool.images", {"python": 3})
    assert (answer["saved"], answer["applied"], answer["after_restart"]) == (True, ["pool.images"], [])
    assert settings.file.read_text() == CONFIG.replace("python: 1", "python: 3")
    await until_pool(settings.api, target=3, warm=3, starting=0)
    await settings.change("pool.enabled", False)
    await until_pool(settings.api, target=0, warm=0, starting=0)
    async with asyncio.timeout(PATIENCE_SECONDS):
        while await asyncio.to_thread(settings.gateway.containers):
            await asyncio.sleep(0.1)


@docker
async def test_new_sandboxes_have_the_new_limits_and_warm_ones_too(settings: Settings) -> None:
    await until_pool(settings.api, warm=1, starting=0)
    changes = {"defaults.mem_limit_mb": 256, "session_ttl_seconds": 77, "limits.max_sandboxes": 2}
    answer = await settings.put(changes=changes)
    assert answer["applied"] == ["session_ttl_seconds", "defaults.mem_limit_mb", "limits.max_sandboxes"]
    await until_pool(settings.api, warm=1, starting=0)
    made = []
    for _ in range(2):
        session = json.loads((await settings.api.request("POST", "/v1/sessions", {})).body)
        assert session["ttl_seconds"] == 77
        stats = await settings.api.get(f"/v1/sessions/{session['id']}/stats")
        assert stats["memory_limit"] == 256 * 2**20
        made.append(session["id"])
    full = await settings.api.request("POST", "/v1/sessions", {})
    assert full.code == 503
    assert b"all 2 sandboxes" in full.body
    await settings.change("limits.max_sessions_per_owner", 1)
    assert (await settings.api.request("POST", "/v1/sessions", {})).code == 429
    for session_id in made:
        await settings.api.request("DELETE", f"/v1/sessions/{session_id}")


@docker
async def test_what_cannot_change_at_once_says_so(settings: Settings) -> None:
    answer = await settings.put(changes={"base_url": "/kernels/", "limits.max_output_bytes": 4096})
    assert (answer["applied"], answer["after_restart"]) == (["limits.max_output_bytes"], ["base_url"])
    found = await settings.setting("base_url")
    assert (found["value"], found["running"], found["after_restart"]) == ("/kernels/", "/", True)
    await settings.change("base_url", None)
    assert (await settings.setting("base_url"))["after_restart"] is False
    assert settings.file.read_text() == CONFIG.replace("8}", "8, max_output_bytes: 4096}")


@docker
@pytest.mark.parametrize(
    ("changes", "name", "words"),
    [
        ({"session_ttl_seconds": "ten"}, "session_ttl_seconds", "expected a whole number from 0 to 86400"),
        ({"session_ttl_seconds": True}, "session_ttl_seconds", "got true"),
        ({"pool.images": {"python": -1}}, "pool.images", "python: expected a whole number of at least 0, got -1"),
        ({"pool.images": {"pyton": 1}}, "pool.images", "did you mean python?"),
        ({"pool.images": {"python": 9}}, "pool.images", "9 warm kernels are more than limits.max_sandboxes, 8"),
        ({"limits.max_sandboxes": 1e99}, "limits.max_sandboxes", "expected a whole number"),
        ({"defaults.mem_limit_mb": 2**30}, "defaults.mem_limit_mb", "more than this machine has"),
        ({"allow_credentials": True}, "allow_credentials", "name one origin"),
        ({"env_names": ["a b"]}, "env_names", "0: 'a b' cannot be the name of a variable"),
        ({"kernelspec_dirs": ["/nowhere"]}, "kernelspec_dirs", "there is no such directory"),
        ({"api_key": ["secret-thing"]}, "api_key", "what was given is not shown"),
        ({"defaults.cpu_limit": 2}, "defaults.cpu_limit", "set by SANDKASTEN_CPU_LIMIT"),
        ({"data_dir": "/x"}, "data_dir", "set by command line"),
        ({"pool.imagse": {}}, "", "pool.imagse: unknown key; did you mean pool.images?"),
        ({"images": {"x": {"from": "nothing"}}}, "images", "x.from: expected an image's name"),
    ],
)
async def test_a_wrong_value_is_refused_at_its_field(
    settings: Settings, changes: dict[str, Any], name: str, words: str
) -> None:
    told = await settings.refused(changes=changes)
    assert words in told[name]
    assert "secret-thing" not in json.dumps(told)


@docker
async def test_every_field_that_is_wrong_is_told_at_once(settings: Settings) -> None:
    changes = {"session_ttl_seconds": -1, "pool.max_starting": 0, "listen": "x:1", "log_level": "INFO"}
    told = await settings.refused(changes=changes, yaml={"images": "{x: [}", "pool.images": "{python: 2}"})
    assert told.keys() == {"session_ttl_seconds", "pool.max_starting", "listen", "images"}


@docker
@pytest.mark.parametrize(
    ("text", "name", "line"),
    [
        ("pool:\n  images: {python: 1}\nnothing: 1\n", "", 3),
        ("pool:\n  max_starting: none\n", "pool.max_starting", 2),
        ("pool: [\n", "", 2),
        ("listen: *x\n", "", 1),
        ("- a\n", "", 1),
        ("pool: {images: {python: 1, other: 1}}\n", "pool.images", 1),
        ("a: 1\n" * 20_000, "", 0),
    ],
)
async def test_a_text_is_checked_as_the_fields_are(settings: Settings, text: str, name: str, line: int) -> None:
    before = settings.file.read_bytes()
    answer = await settings.put(400, text=text)
    error = answer["details"]["errors"][0]
    assert (error["name"], error["line"]) == (name, line)
    assert settings.file.read_bytes() == before


@docker
async def test_the_text_is_saved_with_one_backup_and_a_dry_run_saves_nothing(settings: Settings) -> None:
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


@docker
async def test_a_file_that_gets_a_key_is_its_owners_alone(settings: Settings) -> None:
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


@docker
async def test_an_image_that_is_not_built_is_told_with_the_command_that_builds_it(
    settings: Settings, tmp_path: Path
) -> None:
    spec = json.loads((asset_dir("kernelspecs") / "bash" / "kernel.json").read_text())
    spec["metadata"]["sandkasten"]["image"] = "never-made"
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "kernel.json").write_text(json.dumps(spec))
    changes = {
        "images": {"never-built": {"from": "python", "pip": ["polars"]}},
        "kernelspec_dirs": [str(tmp_path)],
        "pool.images": {"python": 1, "never-made": 1, "base": 0},
    }
    tried = await settings.put(changes=changes, dry_run=True)
    saved = await settings.put(changes=changes)
    of_pool, own = saved["warnings"]
    assert (of_pool["name"], own["name"]) == ("pool.images", "images")
    for warning, image in ((of_pool, "never-made"), (own, "never-built")):
        assert f"there is no image sandbox-runtime:{image}" in warning["message"]
        assert f"sandkasten-kernels images build {image} --config={settings.file}" in warning["message"]
    assert tried["warnings"] == saved["settings"]["warnings"] == (await settings.model())["warnings"] == [of_pool, own]
    assert (await settings.put(changes=dict.fromkeys(changes)))["warnings"] == []


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


async def test_an_engine_that_does_not_answer_keeps_nobody_from_saving(monkeypatch: pytest.MonkeyPatch) -> None:
    async def away(image: str) -> str:
        raise EngineError("no Docker engine answers")

    async def mute(image: str) -> str:
        await asyncio.Event().wait()
        return ""

    monkeypatch.setattr(image_warnings, "ASK_SECONDS", 0.05)
    for engine in (away, mute):
        (warning,) = await image_warnings.image_warnings(Given(SECTIONS), engine, "")
        assert "the engine does not answer" in warning["message"]


@docker
async def test_of_many_who_save_at_once_one_does_and_the_others_are_told(settings: Settings) -> None:
    version = (await settings.model())["version"]
    bodies = [{"version": version, "changes": {"session_ttl_seconds": 100 + number}} for number in range(20)]
    answers = await asyncio.gather(*(settings.api.request("PUT", "/v1/settings", body) for body in bodies))
    assert sorted(answer.code for answer in answers) == [200] + [409] * 19
    assert json.loads(next(answer.body for answer in answers if answer.code == 409))["error_code"] == "SETTINGS_CHANGED"
    winner = next(body for body, answer in zip(bodies, answers, strict=True) if answer.code == 200)
    saved = yaml.safe_load(settings.file.read_text())
    assert saved["session_ttl_seconds"] == winner["changes"]["session_ttl_seconds"]  # type: ignore[index]


@docker
async def test_a_file_edited_by_hand_is_seen_and_not_written_over(settings: Settings) -> None:
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
    assert "mend it on the machine first" in model["read_only"]
    assert model["text"] is None
    await settings.put(403, text="pool: {}\n")


@docker
async def test_a_file_that_may_not_be_written_is_read_only(settings: Settings) -> None:
    settings.file.chmod(0o444)
    try:
        assert "may not be written" in (await settings.model())["read_only"]
        assert (await settings.change("session_ttl_seconds", 5, 403))["error_code"] == "SETTINGS_READ_ONLY"
        assert settings.file.read_text() == CONFIG
    finally:
        settings.file.chmod(0o644)


@docker
async def test_who_has_no_key_sees_and_saves_nothing(settings: Settings) -> None:
    for method in ("GET", "PUT"):
        response = await settings.api.request(
            method, "/v1/settings", b"{}" if method == "PUT" else None, headers={"A": "b"}
        )
        assert response.code == 401
    for body in ({}, {"version": 1}, {"version": ""}, {"version": "x", "text": 5}, {"version": "x", "changes": [1]}):
        assert (await settings.api.request("PUT", "/v1/settings", body)).code == 400
    assert (await settings.put(400, changes={"listen": "\ud800"}))["error_code"] == "INVALID_REQUEST"


@docker
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
