"""A YAML file is changed where its settings change, and nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from sandkasten_kernels.config.yaml_edit import UNSET, edited, lost_comments

FILE = """\
# The gateway of the third floor.
listen: 127.0.0.1:9000  # behind nginx

env_names:
  - OPENAI_BASE_URL
  - LANG  # for dates

pool:
  # many, because of the course
  images:
    python: 4  # warm
    base: 1
  max_starting: 2
# limits, as agreed
limits: {max_sandboxes: 16, workspace_mb: 100}
allowed_images: [python, base]  # both
defaults:
"""
LIMITS = "limits: {max_sandboxes: 16, workspace_mb: 100}"


@pytest.mark.parametrize(
    ("path", "value", "lines"),
    [
        ("listen", "x:1", {"- listen: 127.0.0.1:9000  # behind nginx", "+ listen: x:1  # behind nginx"}),
        ("pool.images", {"python": 5, "base": 1}, {"-     python: 4  # warm", "+     python: 5  # warm"}),
        ("pool.images", {"python": 4, "base": 1, "own": 2}, {"+     own: 2"}),
        ("pool.images", {"python": 4}, {"-     base: 1"}),
        ("pool.max_starting", UNSET, {"-   max_starting: 2"}),
        ("pool.enabled", False, {"+   enabled: false"}),
        ("limits.max_sandboxes", 8, {f"- {LIMITS}", "+ limits: {max_sandboxes: 8, workspace_mb: 100}"}),
        ("limits.workspace_mb", UNSET, {f"- {LIMITS}", "+ limits: {max_sandboxes: 16}"}),
        ("allowed_images", ["base"], {"- allowed_images: [python, base]  # both", "+ allowed_images: [base]  # both"}),
        ("env_names", ["OPENAI_BASE_URL", "TZ"], {"-   - LANG  # for dates", "+   - TZ  # for dates"}),
        ("env_names", [], {"- env_names:", "-   - OPENAI_BASE_URL", "-   - LANG  # for dates", "+ env_names: []"}),
        ("defaults.cpu_limit", 0.5, {"+   cpu_limit: 0.5"}),
        ("workspace.ephemeral", "disk", {"+ workspace:", "+   ephemeral: disk"}),
        ("base_url", "yes", {"+ base_url: 'yes'"}),
        ("images", {"own": {"from": "base"}}, {"+ images:", "+   own: {from: base}"}),
        ("session_ttl_seconds", UNSET, set()),
        ("listen", "127.0.0.1:9000", set()),
    ],
)  # fmt: skip
def test_only_the_lines_of_what_changes_change(path: str, value: Any, lines: set[str]) -> None:
    after = edited(FILE, {tuple(path.split(".")): value})
    gone = {f"- {line}" for line in set(FILE.splitlines()) - set(after.splitlines())}
    come = {f"+ {line}" for line in set(after.splitlines()) - set(FILE.splitlines())}
    assert gone | come == lines
    yaml.safe_load(after)


def test_several_changes_at_once_keep_every_comment() -> None:
    changes = {
        ("pool", "images"): {"python": 1, "base": 3, "own": 1},
        ("limits", "max_sandboxes"): 20,
        ("defaults", "mem_limit_mb"): 1024,
        ("defaults", "cpu_limit"): 2.0,
        ("trust_proxy",): True,
    }
    after = edited(FILE, changes)
    for line in FILE.splitlines():
        if "#" in line:
            assert line.partition("#")[2] in after
    data = yaml.safe_load(after)
    assert data["pool"]["images"] == {"python": 1, "base": 3, "own": 1}
    assert data["defaults"] == {"mem_limit_mb": 1024, "cpu_limit": 2.0}
    assert data["trust_proxy"] is True


@pytest.mark.parametrize(
    ("text", "path", "value", "lost"),
    [
        (FILE, "session_ttl_seconds", 60, 0),
        (FILE, "pool.images", {"python": 5, "base": 1}, 0),
        (FILE, "env_names", [], 1),  # the comment stood in the list
        (FILE, "pool.images", {"base": 1}, 1),  # and here beside the removed entry
        ("pool:\n    images: {\n      python: 2,  # two\n    }\n", "pool.images", {"python": 3}, 1),
        ("listen: |  # where\n  a # b\n# end\n", "listen", "x", 1),
        ("listen: 'a # b'\nx: \"# c\"\n", "listen", "x", 0),
        ("# one\r\nlisten: x # two\r\n", "listen", UNSET, 1),
    ],
)
def test_comments_that_an_edit_loses_are_counted(text: str, path: str, value: Any, lost: int) -> None:
    assert lost_comments(text, edited(text, {tuple(path.split(".")): value})) == lost


@given(st.text("ab:- #\n'\"[]{},|>\ufeff\r", max_size=40))
def test_counting_the_comments_of_any_text_fails_as_yaml_does(text: str) -> None:
    try:
        yaml.safe_load(text)
    except yaml.YAMLError:
        return
    assert lost_comments(text, text) == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "# nothing yet",
        "# nothing yet\n",
        "---\n",
        "pool:",
        "pool: ~  # later\n",
        "pool: {}\n",
        "{}",
        "{pool: {enabled: true}}",
        "pool:\n    images: {\n      python: 2,  # two\n    }\n",
        "listen: |\n  127.0.0.1:1\n\n# end\n",
        "listen: >-\n  127.0.0.1:1",
        "'pool': {\"images\": {python: 1}}\r\nlisten: x\r\n",
        "pool:\n  images:\n    python: 1\n...\n",
        "\N{BYTE ORDER MARK}listen: x\n",
        "env_names:\n- A\n- B\nlisten: x",
    ],
)  # fmt: skip
def test_whatever_the_layout_the_values_are_right(text: str) -> None:
    before = yaml.safe_load(text) or {}
    after = edited(text, {("pool", "images"): {"python": 3, "odd name: #": 1}, ("listen",): "y", ("env_names",): ["C"]})
    data = yaml.safe_load(after)
    kept = {name: value for name, value in (before.get("pool") or {}).items() if name != "images"}
    assert data == {
        **before,
        "listen": "y",
        "env_names": ["C"],
        "pool": {**kept, "images": {"python": 3, "odd name: #": 1}},
    }


values = st.one_of(
    st.integers(-5, 5),
    st.booleans(),
    st.text(max_size=12),
    st.lists(st.text("ab: #-'\"\n", max_size=5), max_size=3),
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 9), max_size=3),
)
sections = st.dictionaries(st.sampled_from(["one", "two", "three"]), values, max_size=3)
files = st.dictionaries(st.sampled_from(["pool", "limits", "x", "y"]), st.one_of(sections, values), max_size=4)
changes = st.dictionaries(
    st.one_of(
        st.tuples(st.sampled_from(["x", "y"])),
        st.tuples(st.sampled_from(["pool", "limits"]), st.sampled_from(["one", "two", "new"])),
    ),
    st.one_of(values, st.just(UNSET)),
    max_size=4,
)


@given(files, changes, st.sampled_from([True, False, None]))
def test_any_change_of_any_file_is_right(data: dict[str, Any], wanted: dict[Any, Any], flow: bool | None) -> None:
    text = yaml.safe_dump(data, default_flow_style=flow, sort_keys=False)
    expected = yaml.safe_load(text)
    for path, value in wanted.items():
        at = expected
        for name in path[:-1]:
            if not isinstance(at.get(name), dict):
                at[name] = {}
            at = at[name]
        at.pop(path[-1], None)
        if value is not UNSET:
            at[path[-1]] = value
    found = yaml.safe_load(edited(text, wanted)) or {}
    bare = {name: value for name, value in expected.items() if value not in ({}, None)}
    assert {name: value for name, value in found.items() if value not in ({}, None)} == bare
