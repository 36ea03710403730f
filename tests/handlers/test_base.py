"""What every handler does: an error is in the log under its id, and a stop of the gateway is an answer in words."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

from sandkasten_kernels.background import BackgroundTasks
from sandkasten_kernels.handlers.base import Handler, log_request
from sandkasten_kernels.handlers.bodies import BoundedApplication
from sandkasten_kernels.handlers.origins import OriginPolicy
from tests.support.services import TOKEN, some_services
from tests.support.waiting import eventually

HEADERS = {"Authorization": f"Bearer {TOKEN}"}


class DefectHandler(Handler):
    """Has a defect."""

    def get(self) -> None:
        raise RuntimeError("a defect")


class WaitingHandler(Handler):
    """Works until somebody cancels it."""

    async def get(self) -> None:
        await self.unless_gone(asyncio.Event().wait())


@asynccontextmanager
async def serving(tasks: BackgroundTasks) -> AsyncIterator[str]:
    """Serve both handlers; yield the URL."""
    arguments = {"services": some_services(tasks=tasks)}
    routes = [("/defect", DefectHandler, arguments), ("/wait", WaitingHandler, arguments)]
    server = HTTPServer(BoundedApplication(routes, web=OriginPolicy(), idle_seconds=60, log_function=log_request))
    sock, port = bind_unused_port()
    server.add_socket(sock)
    yield f"http://127.0.0.1:{port}"
    server.stop()
    await server.close_all_connections()


async def test_an_internal_error_is_in_the_log_under_the_id_of_its_answer(caplog: pytest.LogCaptureFixture) -> None:
    async with serving(BackgroundTasks(logging.getLogger(__name__))) as url:
        response = await AsyncHTTPClient().fetch(f"{url}/defect", headers=HEADERS, raise_error=False)
    answer = json.loads(response.body)
    request_id = answer["details"]["request_id"]
    assert (response.code, response.headers["X-Request-Id"]) == (500, request_id)
    failed = next(record for record in caplog.records if record.exc_info)
    assert request_id in failed.getMessage()
    assert "a defect" not in response.body.decode()


async def test_a_request_that_the_gateways_stop_ends_is_answered_with_503() -> None:
    tasks = BackgroundTasks(logging.getLogger(__name__))
    async with serving(tasks) as url:
        request = asyncio.ensure_future(AsyncHTTPClient().fetch(f"{url}/wait", headers=HEADERS, raise_error=False))
        await eventually(lambda: len(tasks))
        await tasks.cleanup()
        response = await request
    assert response.code == 503
    assert "stopping" in json.loads(response.body)["message"]
