"""The benches, as far as they are more than figures."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tornado.httpclient import AsyncHTTPClient

from bench.start import running
from tests.support.waiting import eventually

SERVER = """
import sys
from http.server import test
print("why it failed", flush=True)
test(port=int(sys.argv[1]), bind="127.0.0.1")
"""
COMMAND = [sys.executable, "-c", SERVER, "{port}"]


async def served(url: str) -> None:
    """Return when somebody answers there."""

    async def answers() -> bool:
        try:
            return bool(await AsyncHTTPClient().fetch(url, raise_error=False))
        except OSError:
            return False

    await eventually(answers)


@pytest.mark.parametrize("error", [KeyboardInterrupt, TimeoutError])
async def test_a_measurement_that_fails_tells_what_the_server_said_and_leaves_none(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], error: type[BaseException]
) -> None:
    async def measure() -> None:
        with running(tmp_path, "a server", COMMAND, {}) as server:
            urls.append(server.url)
            await served(server.url)
            raise error

    urls: list[str] = []
    with pytest.raises(error):
        await measure()
    assert "a server:\nwhy it failed" in capsys.readouterr().err
    with pytest.raises(OSError, match="refused"):
        await AsyncHTTPClient().fetch(urls[0])


async def test_a_measurement_that_is_done_is_quiet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with running(tmp_path, "a server", COMMAND, {}) as server:
        await served(server.url)
    assert capsys.readouterr().err == ""
