"""What Docker knows of a container's end becomes words."""

from __future__ import annotations

from typing import Any

import pytest

from sandkasten_kernels.engines.docker.containers import how_it_ended, how_it_was_killed
from sandkasten_kernels.kernels.exit_reason import death_reason
from sandkasten_kernels.kernels.restarts import RestartLimiter


def kill(number: str) -> dict[str, Any]:
    return {"Action": "kill", "Actor": {"Attributes": {"signal": number}}}


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([], ""),
        ([kill("1")], ""),
        ([{"Action": "kill"}, kill("none")], ""),
        ([kill("9")], "its sandbox was ended over the engine, from outside of the gateway (SIGKILL)"),
        (
            [kill("15"), kill("1"), kill("9")],
            "its sandbox was ended over the engine, from outside of the gateway (SIGTERM, SIGKILL)",
        ),
    ],
)
def test_who_came_over_the_engine_is_told_and_a_signal_that_ends_nothing_is_not(
    events: list[dict[str, Any]], words: str
) -> None:
    assert how_it_was_killed(iter(events)) == words


@pytest.mark.parametrize(
    ("state", "words"),
    [
        ({"ExitCode": 0}, "the first process of its sandbox ended with exit code 0"),
        ({"ExitCode": 137}, "the first process of its sandbox was killed by signal SIGKILL"),
        ({"ExitCode": 128 + 99}, "the first process of its sandbox was killed by signal 99"),
        ({"ExitCode": 137, "OOMKilled": True}, "its sandbox was killed, out of memory, limit 512 MiB"),
        ({"ExitCode": 1, "OOMKilled": True}, "the first process of its sandbox ended with exit code 1"),
    ],
)
def test_a_container_that_ended_by_itself_says_how(state: dict[str, Any], words: str) -> None:
    assert how_it_ended({"State": state, "HostConfig": {"Memory": 512 * 2**20}}) == words


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({}, "it ended"),
        ({"exit_code": "7", "signal": [9]}, "it ended"),
        ({"exit_code": 7}, "it ended with exit code 7"),
        ({"signal": 9}, "killed by signal SIGKILL"),
        ({"signal": 1 << 70}, f"killed by signal {1 << 70}"),
        ({"signal": 9, "out_of_memory": True}, "killed, out of memory"),
        ({"out_of_memory": True, "memory_limit": 1 << 29}, "killed, out of memory, limit 512 MiB"),
    ],
)
def test_what_a_guest_says_of_a_death_is_believed_as_far_as_it_can_be(content: dict[str, Any], words: str) -> None:
    assert death_reason(content) == words


def test_only_deaths_at_once_are_too_many() -> None:
    deaths = RestartLimiter()
    assert all(deaths.again(now) for now in range(0, 100, 13))
    assert [deaths.again(100.0 + number) for number in range(6)] == [True, False, False, False, False, False]
    assert deaths.again(200.0)
