"""The catalogue of kernelspecs: ours, an operator's, and what is refused."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import pytest

from sandkasten_kernels.background import BackgroundTasks
from sandkasten_kernels.config.traits import Defaults
from sandkasten_kernels.engines import Engine, SandboxSpec
from sandkasten_kernels.errors import ConfigError, UnknownKernelspec
from sandkasten_kernels.kernelspecs.kernelspec import Kernelspecs
from sandkasten_kernels.pool.launcher import Launcher

GOOD: dict[str, Any] = {
    "argv": ["run", "{connection_file}"],
    "display_name": "Some",
    "language": "some",
    "metadata": {"sandkasten": {"image": "python", "warm_up": "None"}},
}


def add(directory: Path, name: str, spec: dict[str, Any] | None = None, **changes: Any) -> Path:
    """Write a kernelspec and return its directory."""
    resource_dir = directory / name
    resource_dir.mkdir(parents=True)
    (resource_dir / "kernel.json").write_text(json.dumps({**(spec or GOOD), **changes}))
    return resource_dir


def image(name: str) -> dict[str, Any]:
    return {"sandkasten": {"image": name}}


def test_ours_has_all_that_a_client_reads() -> None:
    models = Kernelspecs().models()
    assert models["default"] == "python3"
    model = models["kernelspecs"]["python3"]
    assert model["name"] == "python3"
    assert model["resources"] == {
        "logo-64x64": "/kernelspecs/python3/logo-64x64.png",
        "logo-svg": "/kernelspecs/python3/logo-svg.svg",
    }
    expected = {
        "argv": ["/opt/venv/bin/python", "-P", "-m", "sandkasten_ipykernel", "-f", "{connection_file}"],
        "env": {"PYDEVD_DISABLE_FILE_VALIDATION": "1"},
        "display_name": "Python 3 (sandbox)",
        "language": "python",
        "interrupt_mode": "message",
        "metadata": {"debugger": True, "sandkasten": {"image": "python", "warm_up": "None"}},
    }
    assert {key: model["spec"][key] for key in expected} == expected


def test_every_advertised_file_of_ours_is_served() -> None:
    specs = Kernelspecs()
    for url in specs.get().model()["resources"].values():
        name, file = url.removeprefix("/kernelspecs/").split("/")
        assert specs.resource(name, file).stat().st_size > 100
    assert specs.resource("python3", "logo-64x64.png").read_bytes().startswith(b"\x89PNG")


def test_urls_are_paths_below_the_base_url_that_a_handler_adds() -> None:
    resources = Kernelspecs().get().model()["resources"]
    assert resources["logo-svg"] == "/kernelspecs/python3/logo-svg.svg"


@pytest.mark.parametrize("name", ["python3", "python", "", None])
def test_python_and_nothing_mean_the_default(name: str | None) -> None:
    assert Kernelspecs().get(name).name == "python3"


def test_a_kernelspec_of_that_very_name_comes_before_the_alias(tmp_path: Path) -> None:
    add(tmp_path, "python")
    add(tmp_path, "python3")
    assert Kernelspecs([tmp_path]).get("python").name == "python"


def test_an_unknown_name_is_answered_with_the_known_ones(tmp_path: Path) -> None:
    add(tmp_path, "one")
    add(tmp_path, "two")
    specs = Kernelspecs([tmp_path])
    with pytest.raises(UnknownKernelspec) as caught:
        specs.get("x" * 5000)
    assert caught.value.status == 404
    assert caught.value.message.endswith("...'. Known: one, two.")
    assert len(caught.value.message) < 200


def test_an_image_leads_to_its_first_kernelspec(tmp_path: Path) -> None:
    add(tmp_path, "zeta", metadata=image("other"))
    add(tmp_path, "beta")
    add(tmp_path, "alpha")
    specs = Kernelspecs([tmp_path], default_image="other")
    found = specs.for_image("python")
    assert found is not None
    assert found.name == "alpha"
    assert specs.get().name == "zeta"
    assert specs.for_image("none") is None
    assert specs.images() == ["other", "python"]
    assert [spec.name for spec in specs] == ["alpha", "beta", "zeta"]


def test_only_allowed_images_are_offered(tmp_path: Path) -> None:
    add(tmp_path, "one")
    add(tmp_path, "two", metadata=image("other"))
    specs = Kernelspecs([tmp_path], allowed_images=["python", "base"])
    assert list(specs.models()["kernelspecs"]) == ["one"]
    with pytest.raises(UnknownKernelspec):
        specs.get("two")


def test_what_an_image_stands_for_is_a_kernelspec_that_may_be_warm(tmp_path: Path) -> None:
    add(tmp_path, "alpha", metadata={"sandkasten": {"image": "python", "pool": False}})
    add(tmp_path, "beta")
    assert Kernelspecs([tmp_path]).get().name == "beta"
    alone = add(tmp_path / "alone", "alpha", metadata={"sandkasten": {"image": "python", "pool": False}})
    assert Kernelspecs([alone.parent]).get().name == "alpha"


def test_extra_kernelspecs_come_after_those_of_the_directories(tmp_path: Path) -> None:
    add(tmp_path, "one", display_name="of the directory")
    one = replace(Kernelspecs([tmp_path]).get("one"), image="other")
    specs = Kernelspecs([tmp_path], extra=[one, replace(one, name="two")])
    assert [(spec.name, spec.image) for spec in specs] == [("one", "python"), ("two", "other")]


def test_a_kernelspec_says_what_its_sandboxes_are(tmp_path: Path) -> None:
    ours = {
        "image": "python",
        "kernel": "guest",
        "limits": {"cpu_limit": 2, "pids_limit": 64},
        "network_mode": "bridge",
        "pool": False,
        "warm_up": "import this",
        "after_claim": "import that",
    }
    add(tmp_path, "full", metadata={"sandkasten": ours})
    add(tmp_path, "plain", metadata=image("python"))
    specs = Kernelspecs([tmp_path])
    full, plain = specs.get("full"), specs.get("plain")
    assert full.limits == (2, None, 64)
    assert (full.in_guest, full.network_mode, full.pool) == (True, "bridge", False)
    assert (full.warm_up, full.after_claim) == ("import this", "import that")
    assert (plain.in_guest, plain.network_mode, plain.pool, plain.limits) == (False, None, True, (None, None, None))


def test_a_sandbox_is_what_its_kernelspec_says_and_else_what_the_defaults_say(tmp_path: Path) -> None:
    ours = {"image": "science", "limits": {"mem_limit_mb": 1024}, "network_mode": "bridge"}
    add(tmp_path, "one", metadata={"sandkasten": ours})
    add(tmp_path, "two")
    launcher = Launcher(
        cast(Engine, None), Defaults(cpu_limit=0.5), logging.getLogger(), BackgroundTasks(logging.getLogger())
    )
    specs = Kernelspecs([tmp_path])
    assert launcher.sandbox_spec(specs.get("one")) == SandboxSpec("science", 0.5, 1024, 256, "bridge", True)
    assert launcher.sandbox_spec(specs.get("two")) == SandboxSpec("python", 0.5, 512, 256, "none", True)


@pytest.mark.parametrize(
    ("ours", "problem"),
    [
        ([], """: expected an object as in {"image": "python"}, got a list"""),
        ({}, """.image: it must name the image, as in {"image": "python"}"""),
        ({"image": ""}, """.image: it must name the image, as in {"image": "python"}"""),
        ({"image": 3}, ".image: expected a string, got 3 (put it in quotes)"),
        ({"image": "a", "kernel": "gest"}, ".kernel: expected process or guest, got 'gest'"),
        ({"image": "a", "after_claims": ""}, ".after_claims: unknown key; did you mean after_claim?"),
        ({"image": "a", "cpu_limit": 1}, ".cpu_limit: unknown key; did you mean limits.cpu_limit?"),
        (
            {"image": "a", "limits": {"cpus": 1}},
            ".limits.cpus: unknown key; known: cpu_limit, mem_limit_mb, pids_limit",
        ),
        ({"image": "a", "limits": {"cpu_limit": -1}}, ".limits.cpu_limit: expected a number above 0, got -1"),
        (
            {"image": "a", "limits": {"mem_limit_mb": 1}},
            ".limits.mem_limit_mb: expected a whole number of at least 128, got 1",
        ),
        (
            {"image": "a", "limits": 3},
            ".limits: expected a mapping with some of cpu_limit, mem_limit_mb, pids_limit, got 3",
        ),
        ({"image": "a", "network_mode": "host"}, ".network_mode: expected none or bridge, got 'host'"),
        ({"image": "a", "pool": "no"}, ".pool: expected true or false, got 'no'"),
        ({"image": "a", "warm_up": None}, ".warm_up: expected a string, got nothing"),
    ],
)
def test_what_metadata_cannot_say_is_one_line_that_names_file_and_key(tmp_path: Path, ours: Any, problem: str) -> None:
    file = add(tmp_path, "bad", metadata={"sandkasten": ours}) / "kernel.json"
    with pytest.raises(ConfigError) as caught:
        Kernelspecs([tmp_path])
    assert str(caught.value) == f"{file}: metadata.sandkasten{problem}"


def test_a_kernelspec_of_the_hosts_own_is_passed_over_and_told(tmp_path: Path) -> None:
    host = add(tmp_path, "host", metadata={"debugger": True})
    add(tmp_path, "one")
    specs = Kernelspecs([tmp_path])
    assert [spec.name for spec in specs] == ["one"]
    assert specs.foreign == [host / "kernel.json"]
    add(tmp_path, "typo", metadata={"sandkesten": {"image": "python"}})
    with pytest.raises(
        ConfigError, match=r"typo/kernel\.json: metadata\.sandkesten: did you mean metadata\.sandkasten\?$"
    ):
        Kernelspecs([tmp_path])


def test_the_first_directory_wins_and_names_are_lower_case(tmp_path: Path) -> None:
    add(tmp_path / "a", "One", display_name="first")
    add(tmp_path / "b", "one", display_name="second")
    (tmp_path / "b" / "no-kernelspec").mkdir()
    (tmp_path / "b" / "README").touch()
    specs = Kernelspecs([tmp_path / "a", tmp_path / "b"])
    assert {name: model["spec"]["display_name"] for name, model in specs.models()["kernelspecs"].items()} == {
        "one": "first"
    }


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "not a kernelspec: "),
        ("[]", "not a kernelspec: "),
        ('{"argv": 3}', "not a kernelspec: "),
        ('{"interrupt_mode": "shout"}', "not a kernelspec: "),
        ("{}", "argv is missing"),
        (json.dumps({**GOOD, "display_name": ""}), "display_name is missing"),
        (json.dumps({**GOOD, "argv": [1]}), "argv is not a list of strings"),
    ],
)
def test_a_malformed_kernelspec_is_one_line_that_names_the_file(tmp_path: Path, text: str, problem: str) -> None:
    file = add(tmp_path, "bad") / "kernel.json"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        Kernelspecs([tmp_path])
    assert str(caught.value).startswith(f"{file}: {problem}")
    assert "\n" not in str(caught.value)


def test_a_name_that_no_url_can_have_is_refused(tmp_path: Path) -> None:
    add(tmp_path, "a b")
    with pytest.raises(ConfigError, match="only letters, digits"):
        Kernelspecs([tmp_path])


def test_a_missing_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file or directory"):
        Kernelspecs([tmp_path / "missing"])


def test_only_files_for_a_browser_that_lie_inside_are_served(tmp_path: Path) -> None:
    resource_dir = add(tmp_path / "specs", "one")
    add(tmp_path / "specs", "two")
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "specs" / "two" / "logo-svg.svg").touch()
    for name in ("kernel.js", "logo-64x64.png", "notes.txt"):
        (resource_dir / name).write_text(name)
    (resource_dir / "logo-dir").mkdir()
    (resource_dir / "logo-out").symlink_to(tmp_path / "secret")
    (resource_dir / "logo-sibling").symlink_to(tmp_path / "specs" / "two" / "logo-svg.svg")
    (resource_dir / "logo-inside").symlink_to("logo-64x64.png")
    (resource_dir / "logo-loop").symlink_to("logo-loop")
    specs = Kernelspecs([tmp_path / "specs"])

    assert specs.get("one").model()["resources"] == {
        "kernel.js": "/kernelspecs/one/kernel.js",
        "logo-64x64": "/kernelspecs/one/logo-64x64.png",
        "logo-inside": "/kernelspecs/one/logo-inside",
    }
    assert specs.resource("one", "kernel.js").read_text() == "kernel.js"
    assert specs.resource("one", "logo-inside").read_text() == "logo-64x64.png"
    hidden = ["kernel.json", "notes.txt", "logo-dir", "logo-out", "logo-sibling", "logo-loop", "kernel.css"]
    outside = ["", ".", "..", "../two/logo-svg.svg", "./kernel.js", str(tmp_path / "secret")]
    for file in [*hidden, *outside, "kernel.js\0", "x" * 10_000]:
        with pytest.raises(UnknownKernelspec):
            specs.resource("one", file)
    with pytest.raises(UnknownKernelspec):
        specs.resource("..", "secret")
