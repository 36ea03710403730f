"""Callbacks: every listener is called, in order, and one that is added for one event is called for one."""

from __future__ import annotations

from functools import partial

from sandkasten_kernels.callbacks import Callbacks


def test_every_callback_is_called_in_the_order_in_which_it_was_added() -> None:
    seen: list[tuple[str, str]] = []
    callbacks: Callbacks[[str]] = Callbacks()
    for name in "abc":
        callbacks.add(lambda event, name=name: seen.append((name, event)))  # type: ignore[misc]
    callbacks("died")
    assert seen == [("a", "died"), ("b", "died"), ("c", "died")]


def test_a_callback_of_one_event_is_called_once_even_if_it_causes_the_event_again() -> None:
    seen: list[str] = []
    callbacks: Callbacks[[]] = Callbacks()
    callbacks.add(partial(seen.append, "gone"))
    callbacks.add(callbacks.call_once)
    callbacks.call_once()
    callbacks.call_once()
    assert seen == ["gone"]


def test_a_callback_that_adds_another_does_not_call_it_for_the_same_event() -> None:
    seen: list[str] = []
    callbacks: Callbacks[[]] = Callbacks()
    callbacks.add(lambda: callbacks.add(partial(seen.append, "late")))
    callbacks()
    assert seen == []
    callbacks.clear()
    callbacks()
    assert seen == []
