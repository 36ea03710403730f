"""Settings from environment variables: the names, the values, and what is refused."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandkasten_kernels.config.environment import environment_settings
from sandkasten_kernels.config.keys import Key, Keys
from sandkasten_kernels.config.traits import SECTIONS
from sandkasten_kernels.errors import ConfigError


def refusal(**environ: str) -> str:
    """Return the line with which an environment is refused."""
    with pytest.raises(ConfigError) as caught:
        environment_settings(environ, SECTIONS)
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize(
    ("name", "text", "path", "value"),
    [
        ("LISTEN", "127.0.0.1:0", "listen", "127.0.0.1:0"),
        ("API_KEY", "12345", "api_key", "12345"),
        ("API_KEY", "[a: {", "api_key", "[a: {"),
        ("POOL_ENABLED", "false", "pool.enabled", False),
        ("POOL_IMAGES", '{"python": 3}', "pool.images", {"python": 3}),
        ("POOL_IMAGES", "python: 3", "pool.images", {"python": 3}),
        ("ALLOWED_IMAGES", "[python, base]", "allowed_images", ["python", "base"]),
        ("CPU_LIMIT", "0.5", "defaults.cpu_limit", 0.5),
        ("DEFAULTS_CPU_LIMIT", "2", "defaults.cpu_limit", 2),
        ("NETWORK_MODE", "none", "defaults.network_mode", "none"),
        ("LOG_LEVEL", "DEBUG", "log_level", 10),
        ("LIMITS_MAX_SANDBOXES", "8", "limits.max_sandboxes", 8),
    ],
)
def test_a_variable_sets_the_key_of_its_name(name: str, text: str, path: str, value: object) -> None:
    settings = environment_settings({f"SANDKASTEN_{name}": text, "PATH": "/bin"}, SECTIONS)
    assert settings.value(*path.split(".")) == value
    assert settings.place(*path.split(".")) == f"SANDKASTEN_{name}"
    assert len(settings.origins) == 1


def test_every_key_has_a_variable_and_no_two_keys_have_the_same() -> None:
    names = [name for key in Keys(SECTIONS) for name in key.variables]
    assert len(names) == len(set(names))
    assert {"SANDKASTEN_POOL_ENABLED", "SANDKASTEN_CPU_LIMIT", "SANDKASTEN_DEFAULTS_CPU_LIMIT"} <= set(names)


def test_an_empty_variable_sets_nothing() -> None:
    environ = {"SANDKASTEN_LISTEN": "", "SANDKASTEN_POOL_IMAGES": "", "SANDKASTEN_NONSENSE": ""}
    assert environment_settings(environ, SECTIONS).origins == {}


@pytest.mark.parametrize(
    ("name", "text", "line"),
    [
        ("POOL_IMGES", "{}", "no setting has this variable; did you mean SANDKASTEN_POOL_IMAGES?"),
        ("CONFG", "x", "no setting has this variable; did you mean SANDKASTEN_CONFIG?"),
        ("ZZZ", "x", "no setting has this variable; `sandkasten-kernels config docs` lists them all"),
        ("CPU_LIMIT", "-1", "defaults.cpu_limit: expected a number above 0, got -1"),
        ("POOL_ENABLED", "1", "pool.enabled: expected true or false, got 1"),
        ("MEM_LIMIT_MB", "many", "defaults.mem_limit_mb: expected a whole number of at least 128, got 'many'"),
        ("ALLOWED_IMAGES", "python", "allowed_images: expected a list, got 'python'; write it as YAML: [a, b]"),
        (
            "POOL_IMAGES",
            "python=3",
            "pool.images: expected a mapping of names to values, got 'python=3'; write it as YAML: {a: 1}",
        ),
        ("POOL_IMAGES", "{python: -1}", "pool.images.python: expected a whole number of at least 0, got -1"),
        (
            "POOL_IMAGES",
            "{a: &x 1}",
            "pool.images: anchors, aliases and tags (&, *, !) are not allowed; put a string",
        ),
        ("POOL_IMAGES", "[" * 3000, "pool.images: nested too deeply"),
        ("LISTEN", "nowhere", "listen: expected HOST:PORT as in 127.0.0.1:8080, got 'nowhere'"),
        ("DATA_DIR", "/\udcff", "data_dir: not a string in UTF-8"),
    ],
)
def test_a_wrong_variable_is_one_line_that_names_it_and_the_key(name: str, text: str, line: str) -> None:
    assert refusal(**{f"SANDKASTEN_{name}": text}).startswith(f"SANDKASTEN_{name}: {line}")


def test_a_key_that_is_set_by_both_its_names_is_refused() -> None:
    line = refusal(SANDKASTEN_CPU_LIMIT="1", SANDKASTEN_DEFAULTS_CPU_LIMIT="2")
    assert line == (
        "SANDKASTEN_DEFAULTS_CPU_LIMIT: defaults.cpu_limit is set by SANDKASTEN_CPU_LIMIT too; keep one of them"
    )


def test_what_a_container_manager_sets_for_a_service_is_passed_over() -> None:
    environ = {
        "SANDKASTEN_SERVICE_HOST": "10.0.0.1",
        "SANDKASTEN_SERVICE_PORT": "80",
        "SANDKASTEN_SERVICE_PORT_HTTP": "80",
        "SANDKASTEN_PORT": "tcp://10.0.0.1:80",
        "SANDKASTEN_PORT_80_TCP": "tcp://10.0.0.1:80",
        "SANDKASTEN_PORT_80_TCP_ADDR": "10.0.0.1",
        "SANDKASTEN_KERNELS_PORT": "tcp://10.0.0.1:80",
        "SANDKASTEN_KERNELS_SERVICE_HOST": "10.0.0.1",
        "SANDKASTEN_URL": "http://gateway",
        "SANDKASTEN_CONFIG": "/etc/sandkasten.yaml",
    }
    assert environment_settings(environ, SECTIONS).origins == {}
    assert "did you mean" in refusal(SANDKASTEN_LISTEN_PORT="8080")


def test_no_message_shows_a_secret() -> None:
    for environ in ({"SANDKASTEN_API_KYE": "s3cret"}, {"SANDKASTEN_API_KEY": "s3cret\udcff"}):
        assert "s3cret" not in refusal(**environ)


@given(st.sampled_from([key for key in Keys(SECTIONS) if key.name != "api_key"]), st.text(min_size=1))
def test_any_text_is_a_setting_that_its_class_takes_or_one_line(key: Key, text: str) -> None:
    message = ""
    try:
        settings = environment_settings({key.variables[0]: text}, SECTIONS)
        assert settings.place(*key.path) == key.variables[0]
        settings.value(*key.path)
    except ConfigError as error:
        message = str(error)
    assert not message or message.startswith(f"{key.variables[0]}: {key.name}")
    assert len(message.splitlines()) <= 1
