"""The catalogue of kernelspecs: ours, an operator's, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from sandkasten_kernels.errors import ConfigError, UnknownKernelspec
from sandkasten_kernels.kernelspec import Kernelspecs

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
    models = Kernelspecs().models("/")
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


def test_urls_stand_below_the_base_url() -> None:
    resources = Kernelspecs().get().model("/gate/way/")["resources"]
    assert resources["logo-svg"] == "/gate/way/kernelspecs/python3/logo-svg.svg"


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


def test_a_default_image_that_nobody_runs_in_is_refused(tmp_path: Path) -> None:
    add(tmp_path, "one")
    with pytest.raises(ConfigError, match=r"^default_image: .*'other'; images with one: python$"):
        Kernelspecs([tmp_path], default_image="other")
    with pytest.raises(ConfigError, match=r"images with one: none$"):
        Kernelspecs([tmp_path], allowed_images=["other"])


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
        (json.dumps({**GOOD, "metadata": {}}), "metadata.sandkasten does not name the image"),
        (json.dumps({**GOOD, "metadata": {"sandkasten": []}}), "metadata.sandkasten does not name the image"),
        (json.dumps({**GOOD, "metadata": image("")}), "metadata.sandkasten does not name the image"),
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
