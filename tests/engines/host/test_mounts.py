"""What the helper for workspaces counts and removes, whatever code in a sandbox has left there."""

from __future__ import annotations

import asyncio
import logging
import os
from pathlib import Path

import psutil

from sandkasten_kernels.engines.docker.spec import helper_config
from sandkasten_kernels.engines.docker.volumes import Volumes
from sandkasten_kernels.engines.host.mounts import own_helper

DEPTH, BYTES = 60, 3 << 20


def chain(top: Path) -> None:
    """Make directories in each other, beyond what a path can say, and a file in the last one."""
    here = os.open(top, os.O_RDONLY | os.O_DIRECTORY)
    for _ in range(DEPTH):
        os.mkdir("n" * 250, dir_fd=here)
        inner = os.open("n" * 250, os.O_RDONLY | os.O_DIRECTORY, dir_fd=here)
        os.close(here)
        here = inner
    hidden = os.open("hidden", os.O_WRONLY | os.O_CREAT, dir_fd=here)
    os.write(hidden, os.urandom(BYTES))
    os.fsync(hidden)
    os.close(hidden)
    os.close(here)


async def test_what_lies_deeper_than_a_path_can_say_is_counted_and_removed(tmp_path: Path) -> None:
    helper = own_helper(tmp_path)
    try:
        for part in ("one", "two"):
            (tmp_path / "thesis" / "data" / part).mkdir(parents=True)
            chain(tmp_path / "thesis" / "data" / part)
        counted = await helper.ask("size", "thesis", timeout=60)
        assert counted["complete"] is True
        assert counted["bytes"] >= 2 * BYTES
        await helper.ask("remove", "thesis", timeout=60)
        assert list(tmp_path.iterdir()) == []
    finally:
        helper.close()


async def test_the_command_line_of_the_helper_says_what_it_is(tmp_path: Path) -> None:
    (tmp_path / "thesis" / "data").mkdir(parents=True)
    helper = own_helper(tmp_path)
    try:
        await helper.ask("size", "thesis", timeout=60)  # now the process runs its own program for sure
        assert helper._process
        command = psutil.Process(helper._process.pid).cmdline()
    finally:
        helper.close()
    assert command[-2].endswith("sandkasten_kernels/engines/host/mount_helper.py")
    assert command[-1] == str(tmp_path)
    assert max(map(len, command)) < 200
    body = helper_config("instance", "base", tmp_path, tmp_path / "door")
    assert body["Entrypoint"] == ["/opt/sandkasten/bin/python", "-I", "-S", "/run/gateway/mount_helper.py"]
    assert body["Cmd"] == ["/workspaces", "/run/gateway/hello.sock"]


async def test_many_workspaces_may_be_counted_at_once(tmp_path: Path) -> None:
    (tmp_path / "thesis" / "data").mkdir(parents=True)
    volumes = Volumes("none", tmp_path, tmp_path, asyncio.to_thread, logging.getLogger("test"))
    volumes._in_container = False  # counting needs no root
    try:
        sizes = await asyncio.gather(*(volumes.size("thesis") for _ in range(300)))
        assert all(complete for _, complete in sizes)
    finally:
        volumes.close()
