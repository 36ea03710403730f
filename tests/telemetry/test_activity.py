"""The figures of the last hour, with a clock that the test sets."""

from __future__ import annotations

from sandkasten_kernels.telemetry.activity import HOUR, MAX_CLAIMS, STEP_SECONDS, Activity, percentile


class Clock:
    """A clock that stands still."""

    def __init__(self) -> None:
        self.time = 1_000_000.0

    def __call__(self) -> float:
        return self.time


def test_claims_of_the_last_hour_give_hit_rate_and_latency() -> None:
    clock = Clock()
    activity = Activity(clock)
    assert activity.claims("python") == {"claims": 0, "hit_rate": None, "claim_p50_ms": None, "claim_p95_ms": None}
    activity.claimed("python", 9.0, warm=False)
    clock.time += HOUR - 1
    for milliseconds in range(1, 100):
        activity.claimed("python", milliseconds / 1000, warm=True)
    told = activity.claims("python")
    assert (told["claims"], told["hit_rate"], told["claim_p50_ms"], told["claim_p95_ms"]) == (100, 0.99, 51.0, 96.0)
    clock.time += 2
    assert activity.claims("python")["hit_rate"] == 1.0
    assert activity.claims("base")["claims"] == 0
    clock.time += HOUR
    assert activity.claims("python")["claims"] == 0


def test_the_history_has_a_row_for_each_step_also_where_nothing_happened() -> None:
    clock = Clock()
    activity = Activity(clock)
    activity.claimed("python", 0.002, warm=True)
    activity.claimed("python", 0.004, warm=True)
    activity.relayed(100)
    clock.time += 3 * STEP_SECONDS
    activity.used(5, 7)
    activity.relayed(1)
    rows = activity.history()
    assert rows[0] == [1_000_000, 2, 4.0, 4.0, 1, 100, None, None]
    assert rows[1] == [1_000_010, 0, None, None, 0, 0, None, None]
    assert rows[3] == [1_000_030, 0, None, None, 1, 1, 5, 7]
    assert len(rows) == 4
    assert activity.history(2) == rows[-2:]
    assert len(rows[0]) == len(activity.columns)


def test_no_more_than_an_hour_is_kept_whatever_the_clock_does() -> None:
    clock = Clock()
    activity = Activity(clock)
    clock.time += 100 * HOUR
    activity.relayed(1)
    assert len(activity.history()) == HOUR // STEP_SECONDS
    clock.time -= 50 * HOUR
    activity.relayed(1)
    assert activity.history()[-1][4] == 2
    for _ in range(MAX_CLAIMS + 10):
        activity.claimed("python", 0.001, warm=True)
    assert activity.claims("python")["claims"] == MAX_CLAIMS


def test_a_percentile_is_one_of_the_values() -> None:
    assert percentile([], 0.5) is None
    assert percentile([3.0], 0.95) == 3.0
    assert percentile([5.0, 1.0, 3.0], 0.5) == 3.0
    assert percentile([float(n) for n in range(100)], 0.95) == 95.0
