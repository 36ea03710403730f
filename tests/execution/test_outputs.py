"""What is collected of an execution's output is bounded, whole where it fits, and says what is missing."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sandkasten_kernels.execution.outputs import LEAST_STREAM_BYTES, MAX_OUTPUTS, Clip, Outputs, output_of, plain_text

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=12), max_size=20)


@given(texts=TEXTS, limit=st.integers(0, 60))
def test_a_clip_keeps_head_and_tail_and_counts_the_rest(texts: list[str], limit: int) -> None:
    clip = Clip(limit)
    for text in texts:
        clip.add(text)
    whole = "".join(texts)
    if len(whole.encode()) <= limit:
        assert (clip.truncated, clip.text()) == (False, whole)
        return
    assert clip.truncated
    found = re.fullmatch(r"(?s)(.*)\n\[\.\.\. (\d+) bytes are missing here \.\.\.\]\n(.*)", clip.text())
    assert found
    head, missing, tail = found[1], int(found[2]), found[3]
    assert whole.startswith(head)
    assert whole.endswith(tail)
    kept = len(head.encode()) + len(tail.encode())
    assert kept <= limit
    assert kept + missing == len(whole.encode())


def test_a_clip_holds_no_more_than_its_limit() -> None:
    clip = Clip(1000)
    for _ in range(10_000):
        clip.add("x" * 100)
    assert len(clip.text()) < 1100
    assert "999000 bytes are missing" in clip.text()


def kept(outputs: Outputs) -> list[dict[str, Any]]:
    return list(json.loads(outputs.as_json()))


def test_outputs_are_those_of_a_notebook() -> None:
    outputs = Outputs(1 << 20)
    for text in ("a", "b"):
        outputs.add("stream", {"name": "stdout", "text": text})
    outputs.add("stream", {"name": "stderr", "text": "c"})
    result: dict[str, Any] = {"data": {"text/plain": "4"}, "metadata": {}, "execution_count": 3}
    outputs.add("execute_result", result)
    outputs.add("error", {"ename": "E", "evalue": "v", "traceback": ["\x1b[31mE\x1b[0m: v"]})
    outputs.add("status", {"execution_state": "idle"})
    kinds = [(o["output_type"], o.get("text")) for o in kept(outputs)]
    assert kinds == [("stream", "ab"), ("stream", "c"), ("execute_result", None), ("error", None)]
    assert [plain_text(output) for output in kept(outputs)[2:]] == ["4\n", "E: v\n"]
    assert not outputs.truncated


def test_a_display_is_updated_in_its_place_and_cleared_when_the_next_comes() -> None:
    outputs = Outputs(1 << 20)
    shown = {"data": {"text/plain": "1"}, "metadata": {}, "transient": {"display_id": "d"}}
    outputs.add("display_data", shown)
    outputs.add("update_display_data", {**shown, "data": {"text/plain": "2"}})
    assert kept(outputs) == [{"output_type": "display_data", "data": {"text/plain": "2"}, "metadata": {}}]
    outputs.add("clear_output", {"wait": True})
    assert len(kept(outputs)) == 1
    outputs.add("stream", {"name": "stdout", "text": "new"})
    assert [o["output_type"] for o in kept(outputs)] == ["stream"]
    outputs.add("clear_output", {"wait": False})
    assert kept(outputs) == []


def test_outputs_are_bounded_whatever_comes() -> None:
    outputs = Outputs(10_000)
    for number in range(5000):
        outputs.add("stream", {"name": ("stdout", "stderr")[number % 2], "text": "x" * 5000})
        outputs.add("display_data", {"data": {"image/png": "y" * 5000}})
    assert outputs.truncated
    assert len(kept(outputs)) <= MAX_OUTPUTS
    assert len(str(kept(outputs))) < 20_000 + MAX_OUTPUTS * (LEAST_STREAM_BYTES + 200)


@given(st.dictionaries(st.text(max_size=8), st.none() | st.integers() | st.text() | st.lists(st.none())))
def test_content_that_is_no_such_message_raises_nothing(content: dict[str, Any]) -> None:
    outputs = Outputs(1000)
    for kind in ("stream", "display_data", "update_display_data", "execute_result", "error", "clear_output", "x"):
        outputs.add(kind, {**content, "transient": [], "data": 5, "traceback": "x"})
    kept(outputs)


def test_a_display_may_be_updated_as_often_as_it_likes() -> None:
    outputs = Outputs(10_000)
    shown = {"data": {"text/plain": "x" * 500}, "transient": {"display_id": "d"}}
    outputs.add("display_data", shown)
    for number in range(1000):
        outputs.add("update_display_data", {**shown, "data": {"text/plain": f"{number:500}"}})
    assert not outputs.truncated
    assert kept(outputs)[0]["data"]["text/plain"].strip() == "999"


def test_an_error_and_a_result_are_kept_whatever_came_before() -> None:
    outputs = Outputs(1000)
    for number in range(3000):
        outputs.add("stream", {"name": ("stdout", "stderr")[number % 2], "text": "x" * 100})
    outputs.add("execute_result", {"data": {"text/plain": "4"}, "execution_count": 1})
    outputs.add("error", {"ename": "E", "evalue": "v", "traceback": []})
    assert [output["output_type"] for output in kept(outputs)[-2:]] == ["execute_result", "error"]


def test_what_is_nested_too_deeply_is_left_out() -> None:
    deep: Any = []
    for _ in range(2000):
        deep = [deep]
    outputs = Outputs(1 << 20)
    outputs.add("display_data", {"data": {"x": deep}})
    assert kept(outputs) == []


@pytest.mark.parametrize("text", [[1], [None, "a"], 5, {"a": 1}])
def test_text_that_is_none_is_read_as_nothing(text: Any) -> None:
    output = output_of("display_data", {"data": {"text/plain": text}})
    assert output
    assert plain_text(output) in ("\n", "a\n")
