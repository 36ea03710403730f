"""The event log: events are stored up to a limit, and served as a list and as a stream."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import docker
import httpx
import pytest

from sandkasten_kernels.store import Store
from sandkasten_kernels.telemetry import events as event_log
from sandkasten_kernels.telemetry.events import EventLog
from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import PATIENCE_SECONDS, Api

LOG = logging.getLogger("test")


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "store")


def test_events_are_kept_in_their_order_and_for_the_next_process(store: Store, tmp_path: Path) -> None:
    events = EventLog(store, LOG)
    events.record("claimed", session_id="a", image="python", name="", workspace_id=None)
    events.record("died", session_id="a", reason="killed, out of memory, limit 512 MiB")
    store.close()
    again = EventLog(Store(tmp_path / "store"), LOG)
    assert again.last == 2
    first, second = (event.model() for event in again.since(0, 10))
    assert (first["id"], first["kind"], first["details"]) == (1, "claimed", {"image": "python"})
    assert (second["id"], second["reason"]) == (2, "killed, out of memory, limit 512 MiB")
    assert [event.id for event in again.since(1, 10)] == [2]
    assert [event.id for event in again.since(0, 1)] == [1]


def test_only_the_last_are_kept_and_no_number_comes_twice(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_log, "MAX_EVENTS", 20)
    monkeypatch.setattr(event_log, "TRIM_EVERY", 10)
    events = EventLog(store, LOG)
    for number in range(100):
        events.record("ended", reason=str(number))
    assert [event.id for event in events.since(0, 1000)] == list(range(81, 101))
    store.query("DELETE FROM events", ())
    again = EventLog(store, LOG)
    again.record("ended")
    assert again.last == 101


def test_what_is_long_or_strange_is_bounded(store: Store) -> None:
    events = EventLog(store, LOG)
    events.record("refused", reason="\ud800\0" + "x" * 100_000, name="y" * 100_000)
    events.record("ended", image=Path("z"), count=1)
    long, strange = (event.model() for event in events.since(0, 10))
    assert len(long["reason"]) == event_log.MAX_REASON
    assert long["details"] == {"left_out": "more than 4096 bytes"}
    assert strange["details"] == {"image": "z", "count": 1}


def test_an_event_that_cannot_be_kept_is_logged(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    events = EventLog(store, LOG)
    store.close()
    events.record("died", session_id="a", reason="killed by signal SIGKILL")
    assert "event died of session 'a' (killed by signal SIGKILL) cannot be stored" in caplog.text


async def test_who_waits_is_woken_by_the_next_event(store: Store) -> None:
    events = EventLog(store, LOG)
    waiting = asyncio.create_task(events.wait(1))
    events.record("claimed")
    await asyncio.sleep(0)
    assert not waiting.done()
    events.record("ended")
    await asyncio.wait_for(waiting, PATIENCE_SECONDS)
    await events.wait(0)


@asynccontextmanager
async def stream(gateway: GatewayProcess, path: str, **headers: str) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
    """Yield the data of each event that ``/v1/events`` sends; it must carry the event's id."""
    headers = {"Authorization": f"Bearer {gateway.token}", "Accept": "text/event-stream", **headers}

    async def events(response: httpx.Response) -> AsyncIterator[dict[str, Any]]:
        fields: dict[str, str] = {}
        async for line in response.aiter_lines():
            name, _, value = line.partition(": ")
            if name:
                fields[name] = value
            elif line == "" and "data" in fields:
                event = json.loads(fields["data"])
                assert (fields["event"], fields["id"]) == ("event", str(event["id"]))
                yield event

    async with (
        httpx.AsyncClient(headers=headers, timeout=PATIENCE_SECONDS) as client,
        client.stream("GET", gateway.url + path) as response,
    ):
        assert response.status_code == 200
        assert response.headers["content-type"] == "text/event-stream"
        yield events(response)


@pytest.mark.docker
async def test_the_life_of_a_session_is_told_as_a_list_and_as_it_happens(gateway: GatewayProcess, api: Api) -> None:
    begin = (await api.get("/v1/events?limit=0"))["last"]
    async with stream(gateway, f"/v1/events?since={begin}") as told:
        answer = await api.request("POST", "/v1/sessions", {"name": "mine"})
        session = json.loads(answer.body)["id"]
        claimed = await anext(event async for event in told if event["kind"] == "claimed")
        assert claimed["session_id"] == session
        assert claimed["details"]["image"] == "python"
        assert claimed["details"]["name"] == "mine"
        await api.request("DELETE", f"/v1/sessions/{session}")
        ended = await anext(event async for event in told if event["kind"] == "ended")
        assert (ended["session_id"], ended["reason"]) == (session, "a client destroyed it")
    listed = await api.get(f"/v1/events?since={begin}")
    of_session = [event for event in listed["events"] if event["session_id"] == session]
    assert claimed in of_session
    assert of_session[-1] == ended
    assert listed["last"] == listed["events"][-1]["id"]
    async with stream(gateway, "/v1/events?since=0", **{"Last-Event-ID": str(claimed["id"])}) as told:
        first = await anext(told)
        assert first["id"] == claimed["id"] + 1
    assert (await api.get(f"/v1/events?since={1 << 62}"))["last"] >= ended["id"]


@pytest.mark.docker
async def test_a_number_that_is_none_is_refused(api: Api) -> None:
    for query in ("since=-1", "since=x", "since=1e3", "limit=1001", "since=" + "9" * 30, "limit=%C2%B2"):
        answer = await api.request("GET", f"/v1/events?{query}")
        assert (answer.code, json.loads(answer.body)["error_code"]) == (400, "INVALID_REQUEST"), query


@pytest.mark.docker
async def test_what_is_refused_and_attached_is_told_and_a_gateway_stops_although_somebody_listens(
    tmp_path: Path, engine: docker.DockerClient
) -> None:
    config = "pool: {enabled: false}\ndefault_image: base\nlimits: {max_sessions_per_owner: 1}\n"
    with GatewayProcess(tmp_path, config) as running:
        running.stop()
        labels = {"sandkasten.instance": running.instance, "sandkasten.sandbox": "nobodys"}
        engine.containers.create("sandbox-runtime:base", labels=labels)
        running.start()
        async with Api(running.url, running.token) as api:
            socket = await api.connect(await api.create(env={"KERNEL_WORKSPACE": "told"}))
            answers = [await api.request("POST", "/api/kernels") for _ in range(20)]
            assert {answer.code for answer in answers} == {403}
            socket.close()
            events = (await api.get("/v1/events"))["events"]
            (kernel,) = await api.kernels()
            assert (await api.request("DELETE", f"/api/kernels/{kernel['id']}")).code == 204
            assert (await api.request("DELETE", "/v1/workspaces/told")).code == 200
        told = [(event["kind"], event["reason"]) for event in events]
        attached = [("attached", "a workspace"), ("attached", "a client connected")]
        removed = ("removed", "an earlier process left them, and no session owned them")
        assert told[:5] == [removed, ("created", ""), ("claimed", ""), *attached], told
        refused = [event for event in events if event["kind"] == "refused"]
        assert "limits.max_sessions_per_owner, 1" in refused[0]["reason"]
        assert refused[0]["details"] == {"code": "LIMIT_REACHED", "image": "base"}
        assert len(refused) < 20
        async with stream(running, "/v1/events"), stream(running, "/v1/events"):
            assert await asyncio.to_thread(running.stop) == 0
    assert "Traceback" not in running.log.read_text()
