"""Options of the command line: checked as the file's values are, and with the last word."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from traitlets.config import Config
from traitlets.config.loader import KVArgParseConfigLoader

from sandkasten_kernels.config.settings import command_line_settings, file_settings
from sandkasten_kernels.config.traits import Defaults, Limits
from sandkasten_kernels.errors import ConfigError
from tests.support.stub_sections import SECTIONS, Pool, SandkastenApp


def command_line(*argv: str) -> Config:
    return KVArgParseConfigLoader(
        list(argv), classes=[SandkastenApp, Pool, Defaults, Limits], log=logging.getLogger("quiet")
    ).load_config()


@pytest.mark.parametrize(
    ("argv", "trait", "value"),
    [
        (["--Pool.images=python=2"], "Pool.images", {"python": 2}),
        (["--Defaults.cpu_limit=0.5"], "Defaults.cpu_limit", 0.5),
        (["--Defaults.readonly_rootfs=false"], "Defaults.readonly_rootfs", False),
        (["--SandkastenApp.allowed_images=a"], "SandkastenApp.allowed_images", ["a"]),
        (["--SandkastenApp.api_key=123"], "SandkastenApp.api_key", "123"),
        (["--Application.log_level=DEBUG"], "SandkastenApp.log_level", 10),
    ],
)
def test_a_right_command_line_is_accepted(argv: list[str], trait: str, value: object) -> None:
    config = command_line_settings(command_line(*argv), SECTIONS).config
    section, _, name = trait.partition(".")
    owners = {cls.__name__: cls for cls in SECTIONS.values()}
    assert getattr(owners[section](config=config), name) == value


@pytest.mark.parametrize(
    ("option", "line"),
    [
        ("--Pol.images=3", "--Pol.images: unknown option; did you mean --Pool.images?"),
        ("--Pool.imges=3", "--Pool.imges: unknown option; did you mean --Pool.images?"),
        ("--Pool.listen=3", "--Pool.listen: unknown option; did you mean --SandkastenApp.listen?"),
        ("--lisen=x", "--lisen: unknown option; did you mean --SandkastenApp.listen?"),
        ("--zzz=x", "--zzz: unknown option"),
        (
            "--Limits.max_sandboxes=many",
            "--Limits.max_sandboxes: expected a whole number of at least 1, got 'many'",
        ),
        ("--Limits.max_sandboxes=0", "--Limits.max_sandboxes: expected a whole number of at least 1, got 0"),
        (
            "--Defaults.readonly_rootfs=maybe",
            "--Defaults.readonly_rootfs: expected true or false, got 'maybe'",
        ),
        ("--Pool.images=python", "--Pool.images: expected a mapping of names to values, got 'python'"),
        ("--SandkastenApp.api_key=s3cret x", "--SandkastenApp.api_key: not a valid value"),
    ],
)
def test_a_wrong_command_line_is_refused_in_one_line(option: str, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        command_line_settings(command_line(option), SECTIONS)
    assert str(caught.value) == line


def test_an_attribute_that_was_only_read_is_no_setting() -> None:
    config = Config()
    assert config.Pool.images is not None  # traitlets keeps a placeholder from now on
    command_line_settings(config, SECTIONS)


def test_a_command_line_has_the_last_word_also_by_a_parent_class(tmp_path: Path) -> None:
    (tmp_path / "sandkasten.yaml").write_text("log_level: ERROR\npool: {images: {python: 1}}\n")
    settings = file_settings(tmp_path / "sandkasten.yaml", SECTIONS)
    settings.merge(
        command_line_settings(command_line("--Application.log_level=DEBUG", "--Pool.images=base=4"), SECTIONS)
    )
    assert SandkastenApp(config=settings.config).log_level == 10
    assert settings.value("pool", "images") == {"base": 4}
    assert settings.place("pool", "images") == "command line"
