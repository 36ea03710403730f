"""``GET /metrics``: the figures are true, and callers cannot raise the number of labels."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import docker
import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from sandkasten_kernels.execution.first_result import FirstResult
from sandkasten_kernels.telemetry.metrics import DEATHS, Metrics, death_label
from tests.support.kernel_client import Api
from tests.support.waiting import eventually


async def figures(api: Api, **headers: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return every figure, by its name and labels."""
    response = await api.request("GET", "/metrics", headers=headers or None)
    assert response.code == 200, response.body
    assert response.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    families = text_string_to_metric_families(response.body.decode())
    return {(s.name, frozenset(s.labels.items())): s.value for family in families for s in family.samples}


class Growth:
    """How much the figures have grown since the last look."""

    def __init__(self, before: dict[Any, float], after: dict[Any, float]) -> None:
        self._before, self._after = before, after

    def of(self, name: str, **labels: str) -> float:
        """Return the growth of all figures of a name that have these labels."""
        wanted = frozenset(labels.items())
        return sum(
            value - self._before.get((found, having), 0)
            for (found, having), value in self._after.items()
            if found == f"sandkasten_{name}" and wanted <= having
        )


async def session(api: Api) -> str:
    response = await api.request("POST", "/v1/sessions", {"image": "python"})
    assert response.code == 201, response.body
    return str(json.loads(response.body)["id"])


@pytest.mark.docker
async def test_a_session_is_counted_and_timed(api: Api) -> None:
    await api.until_claimed(0)
    before = await figures(api)
    session_id = await session(api)
    after = await figures(api)
    grown = Growth(before, after)
    assert grown.of("claim_seconds_count", image="python") == 1
    assert grown.of("pool_hits_total") + grown.of("pool_misses_total") == 1
    assert grown.of("events_total", kind="claimed") == 1
    assert grown.of("sandboxes", state="claimed") == grown.of("sessions") == 1
    assert grown.of("first_result_seconds_count") == 0
    assert grown.of("http_requests_total", route="/v1/sessions", method="POST", status="201") == 1

    for body in ({"cmd": "echo hello"}, {"code": "1 + 1"}, {"code": "2 + 2"}):
        response = await api.request("POST", f"/v1/sessions/{session_id}/exec", body)
        assert response.code == 200
    grown = Growth(after, await figures(api))
    assert grown.of("executions_total", kind="command") == 1
    assert grown.of("executions_total", kind="code") == 2
    assert grown.of("first_result_seconds_count", image="python") == 1
    assert grown.of("http_request_seconds_count", route="/v1/sessions/{id}/exec", method="POST") == 3
    assert grown.of("start_seconds_count") >= 0
    await api.request("DELETE", f"/v1/sessions/{session_id}")
    assert Growth(before, await figures(api)).of("sessions") == 0


@pytest.mark.docker
async def test_what_goes_over_a_websocket_is_counted(api: Api) -> None:
    kernel_id = await api.create()
    before = await figures(api)
    socket = await api.connect(kernel_id)
    assert Growth(before, await figures(api)).of("websockets") == 1
    await socket.execute("print('x' * 100_000)")
    grown = Growth(before, await figures(api))
    assert grown.of("executions_total", kind="cell") == 1
    assert grown.of("first_result_seconds_count", image="python") == 1
    assert grown.of("relayed_messages_total", direction="to_kernel") == 1
    assert grown.of("relayed_messages_total", direction="to_client") >= 5  # busy, input, stream, reply, idle
    assert grown.of("relayed_bytes_total", direction="to_client") > 100_000
    assert 0 < grown.of("relayed_bytes_total", direction="to_kernel") < 10_000
    socket.close()


@pytest.mark.docker
async def test_a_death_has_its_reason(api: Api, engine: docker.DockerClient) -> None:
    session_id = await session(api)
    before = await figures(api)
    body = {"code": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"}
    await api.request("POST", f"/v1/sessions/{session_id}/exec", body)
    await eventually(lambda: figures(api), lambda now: Growth(before, now).of("deaths_total", reason="signal"))
    container = json.loads((await api.request("GET", f"/v1/sessions/{session_id}")).body)["container_id"]
    engine.api.kill(container)
    await eventually(lambda: figures(api), lambda now: Growth(before, now).of("deaths_total", reason="sandbox"))
    await api.request("DELETE", f"/v1/sessions/{session_id}")


@pytest.mark.docker
async def test_the_figures_need_the_token_as_a_bearer_for_instance(api: Api) -> None:
    assert (await api.request("GET", "/metrics", headers={"X-Nothing": "x"})).code == 401
    found = await figures(api, Authorization=f"Bearer {api.token}")
    assert found["sandkasten_sandboxes_limit", frozenset()] == 64
    assert found["sandkasten_disk_free_bytes", frozenset()] > 0
    assert {("state", state) for state in ("warm", "starting", "claimed")} <= {
        label for (name, labels) in found if name == "sandkasten_sandboxes" for label in labels
    }


@pytest.mark.docker
async def test_the_page_on_operations_names_every_figure_and_no_other(api: Api) -> None:
    page = (Path(__file__).parents[2] / "docs" / "operations.md").read_text()
    text = (await api.request("GET", "/metrics")).body.decode()
    there = set(re.findall(r"^# TYPE (sandkasten_\w+) ", text, re.MULTILINE))
    named = {name.removesuffix("_bucket") for name in re.findall(r"\bsandkasten_\w+", page)}
    assert named == there
    for block in re.findall(r"^```yaml\n(.*?)^```", page, re.DOTALL | re.MULTILINE):
        assert yaml.safe_load(block)


@pytest.mark.docker
async def test_no_caller_makes_labels(api: Api) -> None:
    for number in range(20):
        await api.request("GET", f"/nothing/{number}")
        await api.request("GET", f"/v1/sessions/{number}")
        await api.request(f"ODD{number}", "/v1/sessions")
    found = await figures(api)
    routes = {dict(labels)["route"] for name, labels in found if name == "sandkasten_http_requests_total"}
    methods = {dict(labels)["method"] for name, labels in found if name == "sandkasten_http_requests_total"}
    assert {"other", "/v1/sessions/{id}", "/metrics"} <= routes
    assert all("(" not in route and not any(letter.isdigit() for letter in route.replace("v1", "")) for route in routes)
    assert methods <= {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "other"}


@pytest.mark.parametrize(
    ("reason", "word"),
    [
        ("killed, out of memory, limit 512 MiB", "memory"),
        ("killed by signal SIGSEGV", "signal"),
        ("it ended with exit code 1", "exit"),
        ("its sandbox ended", "sandbox"),
        ("the first process of its sandbox was killed by signal SIGKILL", "sandbox"),
        ("its sandbox was killed, out of memory, limit 512 MiB", "memory"),
        ("a reason that nobody has thought of", "other"),
    ],
)
def test_reasons_are_a_few_words(reason: str, word: str) -> None:
    assert death_label(reason) == word
    assert word in DEATHS
    metrics = Metrics()
    metrics.happened("died", reason, "")
    assert metrics.registry.get_sample_value("sandkasten_deaths_total", {"reason": word}) == 1


def test_a_first_result_is_timed_once_and_not_while_nobody_asks() -> None:
    told: list[float] = []
    first = FirstResult(0.5, told.append)
    first.stop()
    assert not first.waiting
    assert told == []
    first.start()
    assert first.waiting
    first.note_message("iopub", [b'{"msg_type": "status"}'])
    assert told == []
    first.note_message("iopub", [b'{"msg_type": "stream"}'])
    first.start()
    first.stop()
    assert len(told) == 1
    assert told[0] >= 0.5
    assert not first.waiting
