"""How far a connection's bytes have come, read off private fields of Tornado."""

from __future__ import annotations

import asyncio
import socket

import pytest
from tornado.iostream import IOStream

from sandkasten_kernels.handlers.api.byte_counts import ByteCounts, check_fields
from tests.support.kernel_client import PATIENCE_SECONDS


class Renamed:
    """A stream of a later Tornado."""

    def __init__(self) -> None:
        self._total_write_index = 0
        self._written = 0


def test_a_tornado_without_the_fields_is_refused_with_its_version_and_the_field() -> None:
    with pytest.raises(ImportError, match=r"Tornado 9\.9 has no Renamed\._total_write_done_index"):
        check_fields(Renamed, "9.9")


async def test_bytes_count_as_received_once_the_other_end_has_acknowledged_them() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        theirs = socket.create_connection(server.getsockname())
        stream = IOStream(server.accept()[0])
    counts = ByteCounts(stream)
    assert (counts.written, counts.received()) == (0, 0)
    await stream.write(b"x" * 1000)
    assert counts.written == 1000
    async with asyncio.timeout(PATIENCE_SECONDS):
        while counts.received() < 1000:
            await asyncio.sleep(0.01)
    stream.close()
    assert counts.received() == 1000
    theirs.close()
