"""The settings over HTTP: shown with their sources, checked before they are saved, and in force without a restart."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from sandkasten_kernels.config.keys import Keys
from sandkasten_kernels.config.settings import Settings as Given
from sandkasten_kernels.config.traits import SECTIONS
from sandkasten_kernels.errors import EngineError
from sandkasten_kernels.images import warnings as image_warnings
from sandkasten_kernels.paths import asset_dir
from tests.support.kernel_client import Api
from tests.support.settings_client import CONFIG, KEY, SettingsClient
from tests.support.waiting import eventually

docker = pytest.mark.docker


async def until_pool(api: Api, **figures: int) -> None:
    """Return when the pool has these figures."""
    await eventually(api.pool, lambda pool: figures.items() <= pool.items())


@docker
async def test_every_setting_is_shown_with_what_it_is_and_where_it_comes_from(settings: SettingsClient) -> None:
    model = await settings.model()
    shown = {found["name"]: found for section in model["sections"] for found in section["settings"]}
    assert list(shown) == [key.name for key in Keys(SECTIONS)]
    assert {name: found["applies"] for name, found in shown.items()} == {
        key.name: key.applies or "after restart" for key in Keys(SECTIONS)
    }
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
async def test_a_secret_is_never_sent_and_never_lost(settings: SettingsClient) -> None:
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
async def test_the_pool_follows_its_size(settings: SettingsClient) -> None:
    await until_pool(settings.api, warm=1, starting=0)
    answer = await settings.change("pool.images", {"python": 3})
    assert (answer["saved"], answer["applied"], answer["after_restart"]) == (True, ["pool.images"], [])
    assert settings.file.read_text() == CONFIG.replace("python: 1", "python: 3")
    await until_pool(settings.api, target=3, warm=3, starting=0)
    await settings.change("pool.enabled", False)
    await until_pool(settings.api, target=0, warm=0, starting=0)
    await eventually(lambda: asyncio.to_thread(settings.gateway.containers), lambda left: left == [])


@docker
async def test_new_sandboxes_have_the_new_limits_and_warm_ones_too(settings: SettingsClient) -> None:
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
async def test_what_cannot_change_at_once_says_so(settings: SettingsClient) -> None:
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
        ({"env_names": ["a b"]}, "env_names", "0: 'a b' is not a valid name of a variable"),
        ({"kernelspec_dirs": ["/nowhere"]}, "kernelspec_dirs", "there is no such directory"),
        ({"api_key": ["secret-thing"]}, "api_key", "the given value is not shown"),
        ({"defaults.cpu_limit": 2}, "defaults.cpu_limit", "set by SANDKASTEN_CPU_LIMIT"),
        ({"data_dir": "/x"}, "data_dir", "set by command line"),
        ({"pool.imagse": {}}, "", "pool.imagse: unknown key; did you mean pool.images?"),
        ({"images": {"x": {"from": "nothing"}}}, "images", "x.from: expected an image's name"),
    ],
)
async def test_a_wrong_value_is_refused_at_its_field(
    settings: SettingsClient, changes: dict[str, Any], name: str, words: str
) -> None:
    told = await settings.refused(changes=changes)
    assert words in told[name]
    assert "secret-thing" not in json.dumps(told)


@docker
async def test_every_field_that_is_wrong_is_told_at_once(settings: SettingsClient) -> None:
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
async def test_a_text_is_checked_as_the_fields_are(settings: SettingsClient, text: str, name: str, line: int) -> None:
    before = settings.file.read_bytes()
    answer = await settings.put(400, text=text)
    error = answer["details"]["errors"][0]
    assert (error["name"], error["line"]) == (name, line)
    assert settings.file.read_bytes() == before


@docker
async def test_an_image_that_is_not_built_is_told_with_the_command_that_builds_it(
    settings: SettingsClient, tmp_path: Path
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
    (lost,) = (await settings.put(changes=dict.fromkeys(changes)))["warnings"]
    assert (lost["name"], "comment" in lost["message"]) == ("", True)  # "# warm" goes with pool.images


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
async def test_of_many_who_save_at_once_one_does_and_the_others_are_told(settings: SettingsClient) -> None:
    version = (await settings.model())["version"]
    bodies = [{"version": version, "changes": {"session_ttl_seconds": 100 + number}} for number in range(20)]
    answers = await asyncio.gather(*(settings.api.request("PUT", "/v1/settings", body) for body in bodies))
    assert sorted(answer.code for answer in answers) == [200] + [409] * 19
    assert json.loads(next(answer.body for answer in answers if answer.code == 409))["error_code"] == "SETTINGS_CHANGED"
    winner = next(body for body, answer in zip(bodies, answers, strict=True) if answer.code == 200)
    saved = yaml.safe_load(settings.file.read_text())
    assert saved["session_ttl_seconds"] == winner["changes"]["session_ttl_seconds"]  # type: ignore[index]


@docker
async def test_who_has_no_key_sees_and_saves_nothing(settings: SettingsClient) -> None:
    for method in ("GET", "PUT"):
        response = await settings.api.request(
            method, "/v1/settings", b"{}" if method == "PUT" else None, headers={"A": "b"}
        )
        assert response.code == 401
    for body in ({}, {"version": 1}, {"version": ""}, {"version": "x", "text": 5}, {"version": "x", "changes": [1]}):
        assert (await settings.api.request("PUT", "/v1/settings", body)).code == 400
    assert (await settings.put(400, changes={"listen": "\ud800"}))["error_code"] == "INVALID_REQUEST"
