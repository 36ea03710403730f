"""The settings: what is accepted, and the one line that an operator reads when it is not."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from traitlets.config import Config

from sandkasten_kernels.config.settings import command_line_settings, file_settings
from sandkasten_kernels.config.traits import Defaults, Limits
from sandkasten_kernels.errors import ConfigError
from tests.support.stub_sections import SECTIONS, Pool, one_line


def load(tmp_path: Path, text: str) -> Config:
    path = tmp_path / "sandkasten.yaml"
    path.write_text(text)
    return file_settings(path, SECTIONS).config


def refusal(tmp_path: Path, text: str) -> str:
    """Return the line with which the file is refused, without the directory."""
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, text)
    message = str(caught.value)
    assert message.splitlines() == [message]
    assert message.startswith(f"{tmp_path}/")
    return message.removeprefix(f"{tmp_path}/")


def test_a_file_sets_the_traits_of_its_sections(tmp_path: Path) -> None:
    config = load(
        tmp_path,
        """
        listen: :8080
        allowed_images: [python, base]
        defaults: {cpu_limit: 2, mem_limit_mb: 1024, network_mode: none, readonly_rootfs: false}
        pool:
          images: {python: 3}
        limits: {max_sandboxes: 8}
        """,
    )
    assert config == {
        "SandkastenApp": {"listen": ":8080", "allowed_images": ["python", "base"]},
        "Defaults": {
            "cpu_limit": 2,
            "mem_limit_mb": 1024,
            "network_mode": "none",
            "readonly_rootfs": False,
        },
        "Pool": {"images": {"python": 3}},
        "Limits": {"max_sandboxes": 8},
    }
    command_line_settings(config, SECTIONS)
    assert Defaults(config=config).cpu_limit == 2.0
    assert Pool(config=config).images == {"python": 3}


LIMITS = ", ".join(sorted(Limits.class_own_traits(config=True)))


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n", "pool:\ndefaults:\n", "{}"])
def test_what_is_left_empty_sets_nothing(tmp_path: Path, text: str) -> None:
    assert load(tmp_path, text) == {}


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("\n\npool:\n  imges: {}\n", "4: pool.imges: unknown key; did you mean pool.images?"),
        ("Listen: x", "1: Listen: unknown key; did you mean listen?"),
        ("max-sandboxes: 3", "1: max-sandboxes: unknown key; did you mean limits.max_sandboxes?"),
        ("pool: {cpu_limit: 1}", "1: pool.cpu_limit: unknown key; did you mean defaults.cpu_limit?"),
        ("pool.images: {}", "1: pool.images: unknown key; write images under pool:"),
        ("pol: {}", "1: pol: unknown key; did you mean pool?"),
        ("limits: {zzz: 1}", "1: limits.zzz: unknown key; known: host_reserve_mb, max_concurrent_execs"),
        ("not_a_setting: x", "1: not_a_setting: unknown key; known: "),
        ('"a b\\nc": 1', "1: 'a b\\nc': unknown key; known: "),
        ('"": {}', "1: '': unknown key; known: "),
    ],
)
def test_an_unknown_key_is_refused_with_the_nearest_right_one(tmp_path: Path, text: str, line: str) -> None:
    assert refusal(tmp_path, text).startswith(f"sandkasten.yaml:{line}")


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("defaults:\n  cpu_limit: many", "2: defaults.cpu_limit: expected a number above 0, got 'many'"),
        ("defaults: {cpu_limit: 0}", "1: defaults.cpu_limit: expected a number above 0, got 0"),
        ("defaults: {cpu_limit: .inf}", "1: defaults.cpu_limit: expected a number above 0, got inf"),
        ("defaults: {cpu_limit: .nan}", "1: defaults.cpu_limit: expected a number above 0, got nan"),
        ("defaults: {cpu_limit: true}", "1: defaults.cpu_limit: expected a number above 0, got true"),
        (
            "defaults: {mem_limit_mb: 100}",
            "1: defaults.mem_limit_mb: expected a whole number of at least 128, got 100",
        ),
        (
            "defaults: {pids_limit: 64.5}",
            "1: defaults.pids_limit: expected a whole number of at least 32, got 64.5",
        ),
        ("defaults: {network_mode: host}", "1: defaults.network_mode: expected none or bridge, got 'host'"),
        (
            "defaults: {readonly_rootfs: 1}",
            "1: defaults.readonly_rootfs: expected true or false, got 1",
        ),
        (
            "limits: {max_sandboxes: 99999999999}",
            "1: limits.max_sandboxes: expected a number of at most 2147483647, got 99999999999",
        ),
        (
            f"limits: {{max_sandboxes: 0x{'f' * 5000}}}",
            "1: limits.max_sandboxes: expected a number of at most 2147483647, got a huge number",
        ),
        (
            "limits: {max_sandboxes: -1}",
            "1: limits.max_sandboxes: expected a whole number of at least 1, got -1",
        ),
        (
            "limits:\n  max_sandboxes:",
            "2: limits.max_sandboxes: expected a whole number of at least 1, got nothing",
        ),
        ("limits: 3", f"1: limits: expected a mapping with some of {LIMITS}, got 3"),
        ("limits: [1]", f"1: limits: expected a mapping with some of {LIMITS}, got a list"),
        ("listen: 8080", "1: listen: expected a string, got 8080 (put it in quotes)"),
        ("listen: 2024-01-02", "1: listen: expected a string, got 2024-01-02 (put it in quotes)"),
        ("listen: {a: b}", "1: listen: expected a string, got a mapping"),
        ("on_stop: keep", "1: on_stop: expected end, got 'keep'"),
        ("allowed_images: python", "1: allowed_images: expected a list, got 'python'"),
        ("allowed_images:\n- a\n- 3", "3: allowed_images.1: expected a string, got 3 (put it in quotes)"),
        ("pool: {images: 3}", "1: pool.images: expected a mapping of names to values, got 3"),
        (
            "pool:\n  images:\n    python: two",
            "3: pool.images.python: expected a whole number of at least 0, got 'two'",
        ),
        (f"on_stop: {'x' * 99}", f"1: on_stop: expected end, got '{'x' * 60}...'"),
    ],
)
def test_a_wrong_value_is_refused_with_what_was_expected(tmp_path: Path, text: str, line: str) -> None:
    assert refusal(tmp_path, text) == f"sandkasten.yaml:{line}"


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("- a", ":1: expected keys and values, as in `session_ttl_seconds: 1800`"),
        ("\n\njust text", ":3: expected keys and values, as in `session_ttl_seconds: 1800`"),
        ("listen: a\n\nlisten: b", ":3: listen: given twice, first on line 1"),
        ("pool:\n  images: {}\n  images: {}", ":3: pool.images: given twice, first on line 2"),
        (
            "pool: {images: {3.11: 1}}",
            ":1: pool.images.3.11: YAML does not read this key as a string; put it in",
        ),
        ("? [a]\n: b", ":1: a key must be one word"),
        ("listen: [", ":1: "),
        ("a: b: c", ":1: mapping values are not allowed here"),
        ("a: 1\n---\nb: 2", ":2: but found another document"),
        ("listen: &x a", ":1: anchors, aliases and tags"),
        ("pool: &x {images: *x}", ":1: anchors, aliases and tags"),
        ("api_key: !secret a", ":1: anchors, aliases and tags"),
        ("listen: 2024-13-45", ":1: looks like a number or a date but is not one"),
        ("listen: 0b_", ":1: looks like a number or a date but is not one"),
        ("a: " + "[" * 3000, ": nested too deeply"),
        ("a: \x07", ": not a text file in UTF-8"),
    ],
)
def test_what_is_no_plain_yaml_mapping_is_refused(tmp_path: Path, text: str, line: str) -> None:
    assert refusal(tmp_path, text).startswith(f"sandkasten.yaml{line}")


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^\S+/missing\.yaml: cannot be read: No such file or directory$"):
        file_settings(tmp_path / "missing.yaml", SECTIONS)
    with pytest.raises(ConfigError, match=r"cannot be read: Is a directory$"):
        file_settings(tmp_path, SECTIONS)
    (tmp_path / "latin.yaml").write_bytes(b"listen: \xe4")
    with pytest.raises(ConfigError, match=r"not a text file in UTF-8$"):
        file_settings(tmp_path / "latin.yaml", SECTIONS)


def test_the_validators_of_a_class_are_asked(tmp_path: Path) -> None:
    assert refusal(tmp_path, "listen: nowhere") == (
        "sandkasten.yaml:1: listen: expected HOST:PORT as in 127.0.0.1:8080, got 'nowhere'"
    )


@pytest.mark.parametrize(
    "text",
    [
        "api_key: [s3cret]",
        "api_key: {s3cret: x}",
        "api_key: s3cret x",
        "api_key: 5355201",
        "api_kye: s3cret",
        "api_key: &s3cret x",
        "api_key: *s3cret",
        "api_key: !s3cret x",
        "api_key: 's3cret",
        'api_key: "s3cret" x',
        "api_key: s3cret\napi_key: s3cret",
        "api_key:s3cret",
        "api_key: s3cret: x",
    ],
)
def test_no_message_shows_a_secret(tmp_path: Path, text: str) -> None:
    message = refusal(tmp_path, text)
    assert "s3cret" not in message
    assert "5355201" not in message


@given(st.text())
def test_any_text_is_settings_or_one_line(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    path = tmp_path_factory.getbasetemp() / "any.yaml"
    path.write_text(text)
    with one_line():
        file_settings(path, SECTIONS)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.dates(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
KEYS = [
    "listen",
    "api_key",
    "allowed_images",
    "on_stop",
    "pool.images",
    "defaults.cpu_limit",
    "limits.max_sandboxes",
]


@given(st.sampled_from(KEYS), VALUES)
def test_what_is_accepted_is_what_the_traits_take(
    tmp_path_factory: pytest.TempPathFactory, key: str, value: object
) -> None:
    path = tmp_path_factory.getbasetemp() / "values.yaml"
    section, _, name = key.rpartition(".")
    path.write_text(yaml.safe_dump({section: {name: value}} if section else {name: value}))
    with one_line():
        config = file_settings(path, SECTIONS).config
        owner = SECTIONS[section]()
        setattr(owner, name, config[type(owner).__name__][name])


def test_every_value_has_its_place(tmp_path: Path) -> None:
    (tmp_path / "sandkasten.yaml").write_text("defaults:\n  cpu_limit: 2\npool: {images: {python: 1}}\n")
    settings = file_settings(tmp_path / "sandkasten.yaml", SECTIONS)
    assert settings.place("defaults", "cpu_limit") == f"{tmp_path}/sandkasten.yaml:2"
    assert settings.place("defaults", "pids_limit") == "default"
    assert settings.value("defaults", "pids_limit") == 256
    assert settings.base("pool", "images") == tmp_path
    error = settings.error(("pool", "images", "python"), "no such image")
    assert str(error) == f"{tmp_path}/sandkasten.yaml:3: pool.images.python: no such image"
    assert str(settings.error(("listen",), "taken")) == "listen: taken"
