"""Each limit on a request to ``/v1`` has its message; any other input raises nothing but `InvalidRequest`."""

from __future__ import annotations

import contextlib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandkasten_kernels.errors import InvalidRequest, InvalidWorkspace
from sandkasten_kernels.execution.runner import Job
from sandkasten_kernels.handlers.v1.parameters import MAX_TEXT_BYTES, exec_request, label_filter, session_request
from sandkasten_kernels.sessions.request import SessionRequest


def session(**body: Any) -> SessionRequest:
    return session_request(body, max_mem_limit_mb=2048, max_cpu_limit=2.0)


def job(**body: Any) -> Job:
    return exec_request(body, max_timeout_ms=30_000)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"image": 5}, "image: must be a string"),
        ({"image": "a\0b"}, "image: must have no NUL"),
        ({"ttl_seconds": -1}, "ttl_seconds: must be a whole number from 0 to 86400"),
        ({"ttl_seconds": 86401}, "ttl_seconds: must be a whole number from 0 to 86400"),
        ({"ttl_seconds": 1.5}, "ttl_seconds: must be a whole number"),
        ({"ttl_seconds": True}, "ttl_seconds: must be a whole number"),
        ({"ttl_seconds": "60"}, "ttl_seconds: must be a whole number"),
        ({"name": "x" * 129}, "name: 129 bytes; the limit is 128"),
        ({"labels": ["a"]}, "labels: must be an object of at most 32 strings"),
        ({"labels": {"a": 1}}, "labels: keys and values are strings of at most 128 characters"),
        ({"labels": {"": "x"}}, "labels: keys and values are strings"),
        (
            {"labels": {"a=b": "x"}},
            "labels: 'a=b' has a character that is not allowed: no =, no NUL, no lone surrogate",
        ),
        ({"labels": {str(n): "" for n in range(33)}}, "labels: must be an object of at most 32 strings"),
        ({"env": ["a"]}, "env: must be an object of strings"),
        ({"env": {"A B": "x"}}, "env: 'A B' is not the name of a variable"),
        ({"env": {"A": 5}}, "env.A: must be a string without NUL"),
        ({"env": {"A": "\ud800"}}, "env.A: must be a string without NUL characters or lone surrogates"),
        ({"env": {"A": "x" * 70_000}}, "env: larger than 64 KiB"),
        ({"mem_limit_mb": 64}, "mem_limit_mb: must be a whole number from 128 to 2048"),
        ({"mem_limit_mb": 4096}, "mem_limit_mb: must be a whole number from 128 to 2048"),
        ({"cpu_limit": 0}, "cpu_limit: must be a number from 0.01 to 2"),
        ({"cpu_limit": float("nan")}, "cpu_limit: must be a number from 0.01 to 2"),
    ],
)
def test_a_session_that_cannot_be_is_refused_by_field_and_limit(body: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        session(**body)
    assert caught.value.message.startswith(words)


@pytest.mark.parametrize("name", ["A", "ab-", "-ab", "a", "a" * 65, "../../etc", "/etc", "a_b", "a.b", "ä-b", "ab\n"])
def test_a_workspace_must_have_a_name_that_is_no_path(name: str) -> None:
    with pytest.raises(InvalidWorkspace):
        session(workspace_id=name)


@pytest.mark.parametrize("name", ["ab", "a1", "user123-project456", "a" * 64, "0--0"])
def test_a_workspace_may_have_other_names(name: str) -> None:
    assert session(workspace_id=name).workspace_id == name


def test_what_is_absent_null_zero_or_unknown_is_the_gateways_to_fill_in() -> None:
    nothing = dict.fromkeys(("image", "workspace_id", "name", "labels", "env", "mem_limit_mb", "cpu_limit"))
    assert session(**nothing, ttl_seconds=0, colour="red") == session()
    assert session(workspace_id="") == session()


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({}, "cmd, a command for the shell, or code, for the kernel: one of the two is needed"),
        ({"cmd": "a", "code": "b"}, "cmd, a command for the shell, or code"),
        ({"cmd": 5}, "cmd: must be a string"),
        ({"cmd": "a\0b"}, "cmd: must have no NUL"),
        ({"cmd": "x" * (MAX_TEXT_BYTES + 1)}, f"cmd: {MAX_TEXT_BYTES + 1} bytes; the limit is {MAX_TEXT_BYTES}"),
        ({"code": "\ud800"}, "code: must have no NUL characters and no lone surrogate"),
        ({"cmd": "a", "timeout_ms": -1}, "timeout_ms: must be a whole number from 0 to 30000"),
        ({"cmd": "a", "timeout_ms": 30_001}, "timeout_ms: must be a whole number from 0 to 30000"),
        ({"cmd": "a", "timeout_ms": 600_001}, "timeout_ms: must be a whole number from 0 to 30000"),
        ({"cmd": "a", "stdin": 5}, "stdin: must be a string"),
        ({"cmd": "a", "env": {"1": "x"}}, "env: '1' is not the name of a variable"),
        ({"code": "a", "stdin": "x"}, "stdin, cwd and env are for cmd alone"),
    ],
)
def test_what_cannot_be_run_is_refused_by_field_and_limit(body: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        job(**body)
    assert caught.value.message.startswith(words)


def test_no_time_limit_means_the_configured_maximum() -> None:
    assert [job(cmd="a", timeout_ms=value).timeout for value in (None, 0, 1)] == [30, 30, 0.001]
    assert job(code="", raw_output=True) == Job("", False, 30.0)


def test_a_filter_names_key_and_value() -> None:
    assert label_filter(["a=b", "c=", "d=e=f", "a=b"]) == {("a", "b"), ("c", ""), ("d", "e=f")}
    assert label_filter(["a=1", "a=2"]) == {("a", "1"), ("a", "2")}
    with pytest.raises(InvalidRequest, match="'nonsense' is not of the form key=value"):
        label_filter(["nonsense"])


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
SESSION_FIELDS = ["image", "ttl_seconds", "workspace_id", "name", "labels", "env", "mem_limit_mb", "cpu_limit"]
EXEC_FIELDS = ["cmd", "code", "timeout_ms", "stdin", "cwd", "env", "raw_output"]


@given(st.dictionaries(st.sampled_from(SESSION_FIELDS), VALUES), st.dictionaries(st.sampled_from(EXEC_FIELDS), VALUES))
def test_whatever_comes_is_taken_or_refused_in_words(session_body: dict[str, Any], exec_body: dict[str, Any]) -> None:
    for parse, body in ((session, session_body), (job, exec_body)):
        with contextlib.suppress(InvalidRequest):
            parse(**body)
