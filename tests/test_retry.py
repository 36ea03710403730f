"""Retries: a failure that may pass is tried again after each delay; any other one ends the attempts."""

from __future__ import annotations

import itertools

import pytest

from sandkasten_kernels.errors import EngineError, SandboxFailed
from sandkasten_kernels.retry import BACKOFF_SECONDS, forever, retry


class Flaky:
    """Work that raises these errors, one a call, and then returns how often it was called."""

    def __init__(self, *errors: Exception) -> None:
        self._errors = list(errors)
        self.calls = 0
        self.seen: list[tuple[str, float]] = []

    async def work(self) -> int:
        self.calls += 1
        if self._errors:
            raise self._errors.pop(0)
        return self.calls

    def note(self, error: EngineError, delay: float) -> None:
        self.seen.append((error.message, delay))


async def test_each_failure_is_reported_with_the_delay_before_the_next_attempt() -> None:
    flaky = Flaky(EngineError("one"), EngineError("two"))
    assert await retry(flaky.work, EngineError, (0.001, 0.002, 0.003), flaky.note) == 3
    assert flaky.seen == [("one", 0.001), ("two", 0.002)]


async def test_the_failure_of_the_attempt_after_the_last_delay_is_raised() -> None:
    flaky = Flaky(EngineError("one"), EngineError("two"), EngineError("three"))
    with pytest.raises(EngineError, match="two"):
        await retry(flaky.work, EngineError, (0.001,), flaky.note)
    assert flaky.calls == 2


async def test_another_exception_ends_the_attempts() -> None:
    flaky = Flaky(SandboxFailed("it is gone"))
    with pytest.raises(SandboxFailed):
        await retry(flaky.work, EngineError, forever(), flaky.note)
    assert (flaky.calls, flaky.seen) == (1, [])


def test_delays_without_end_repeat_the_last_one() -> None:
    first = list(itertools.islice(forever(), len(BACKOFF_SECONDS) + 2))
    assert first == [*BACKOFF_SECONDS, BACKOFF_SECONDS[-1], BACKOFF_SECONDS[-1]]
