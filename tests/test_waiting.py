"""The helper that every wait of the tests goes through is itself bounded."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from tests.support.waiting import eventually, eventually_blocking


async def test_the_first_answer_that_holds_is_returned() -> None:
    numbers = itertools.count()
    assert await eventually(lambda: next(numbers), lambda number: number == 3, interval=0) == 3
    assert eventually_blocking(lambda: next(numbers), lambda number: number == 6, interval=0) == 6


async def test_a_wait_ends_with_its_last_answer_also_where_the_question_hangs() -> None:
    with pytest.raises(AssertionError, match=r"within 0.1 s; the last answer was \[1\]"):
        await eventually(lambda: [1], lambda _: False, seconds=0.1)
    with pytest.raises(AssertionError, match=r"within 0.1 s"):
        await eventually(asyncio.Event().wait, seconds=0.1)
    with pytest.raises(AssertionError, match=r"within 0.1 s; the last answer was 0"):
        eventually_blocking(lambda: 0, seconds=0.1)


async def test_an_exception_of_the_question_passes() -> None:
    async def refused() -> None:
        raise TimeoutError("its own")

    with pytest.raises(TimeoutError, match="its own"):
        await eventually(refused)
