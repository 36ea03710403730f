"""Claims that wait: served first come first served, and none gets two outcomes."""

from __future__ import annotations

from typing import cast

import pytest

from sandkasten_kernels.errors import NoCapacity
from sandkasten_kernels.kernels.kernel import Kernel
from sandkasten_kernels.pool.waiting import WaitingClaims

KERNEL = cast(Kernel, object())


async def test_the_oldest_claim_of_a_kernelspec_is_served_first() -> None:
    claims = WaitingClaims(["a", "b"])
    first, second, other = claims.add("a"), claims.add("a"), claims.add("b")
    assert claims.serve("a", KERNEL)
    assert (first.done(), second.done(), other.done()) == (True, False, False)
    assert (claims.count("a"), claims.count("b"), list(claims)) == (1, 1, ["a", "b"])


async def test_a_claim_that_was_cancelled_is_not_served() -> None:
    claims = WaitingClaims(["a"])
    claims.add("a").cancel()
    assert not claims.serve("a", KERNEL)


async def test_a_claim_leaves_the_queue_once() -> None:
    claims = WaitingClaims(["a"])
    waiting = claims.add("a")
    assert claims.cancel("a", waiting)
    assert not claims.cancel("a", waiting)


async def test_an_error_ends_the_oldest_or_the_newest_claim() -> None:
    claims = WaitingClaims(["a"])
    first, second, third = (claims.add("a") for _ in range(3))
    claims.fail_last("a", NoCapacity("no room"))
    claims.fail_first("a", NoCapacity("no luck"))
    assert not second.done()
    with pytest.raises(NoCapacity, match="no luck"):
        first.result()
    with pytest.raises(NoCapacity, match="no room"):
        third.result()
