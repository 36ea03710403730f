"""A newer version of the gateway, and of the images, takes over what an older one has left."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from sandkasten_kernels.guest import PROTOCOL
from tests.support.gateway_process import GatewayProcess
from tests.support.gateway_restart import taken_over
from tests.support.kernel_client import Api
from tests.support.waiting import eventually

pytestmark = pytest.mark.docker

IMAGE = "sandkasten-test:upgrade"
CONFIG = f"""
kernelspec_dirs: [specs]
default_image: {IMAGE}
allowed_images: ["{IMAGE}"]
pool: {{images: {{"{IMAGE}": 1}}}}
"""
NEXT_IMAGE = f"""
FROM sandbox-runtime:python
USER 0:0
RUN cd $(/opt/sandkasten/bin/python -c 'import sandkasten_guest as g; print(g.__path__[0])') \\
 && sed -i 's/^PROTOCOL = .*/PROTOCOL = {PROTOCOL + 1}/' __init__.py \\
 && /opt/sandkasten/bin/python -m compileall -q -f --invalidation-mode unchecked-hash .
USER 10001:10001
LABEL sandkasten.protocol={PROTOCOL + 1}
"""
NEXT_GATEWAY = f"""
import sandkasten_kernels.guest as guest
guest.PROTOCOL, guest.PROTOCOLS = {PROTOCOL + 1}, ({PROTOCOL}, {PROTOCOL + 1})
"""


@pytest.fixture
def folder_with_specs(tmp_path: Path, engine: docker.DockerClient) -> Iterator[Path]:
    """A directory for a gateway whose one image is of today, until it is built anew."""
    engine.images.get("sandbox-runtime:python").tag(IMAGE)
    spec = tmp_path / "specs/python3"
    spec.mkdir(parents=True)
    standard = Path(__file__).parents[2] / "kernelspecs/python3/kernel.json"
    kernel = json.loads(standard.read_text())
    kernel["metadata"]["sandkasten"]["image"] = IMAGE
    (spec / "kernel.json").write_text(json.dumps(kernel))
    yield tmp_path
    with contextlib.suppress(docker.errors.ImageNotFound):
        engine.images.remove(IMAGE, force=True)


async def test_sandboxes_of_the_previous_guest_stay_usable_and_warm_ones_of_an_older_image_are_replaced(
    folder_with_specs: Path,
) -> None:
    running = GatewayProcess(folder_with_specs, CONFIG)
    await asyncio.to_thread(running.start)
    try:
        async with Api(running.url, running.token) as api:
            kernel = await api.create(env={"KERNEL_A": "1"})
            await (await api.connect(kernel)).execute("x = 42")
            await eventually(api.pool, lambda pool: pool["warm"] >= 1)
        before = set(running.containers())
        await asyncio.to_thread(running.kill)
        build = ["docker", "build", "-q", "--network=none", "-t", IMAGE, "-"]
        environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
        subprocess.run(build, input=NEXT_IMAGE.encode(), check=True, capture_output=True, env=environment)
        newer = folder_with_specs / "newer"
        newer.mkdir()
        (newer / "sitecustomize.py").write_text(NEXT_GATEWAY)
        running.set_env("PYTHONPATH", f"{newer}{os.pathsep}{os.environ.get('PYTHONPATH', '')}")
        await asyncio.to_thread(running.start)
        async with Api(running.url, running.token) as api:
            await taken_over(api)
            assert [found["id"] for found in await api.kernels()] == [kernel]
            socket = await api.connect(kernel)
            assert (await socket.execute("print(x)")).stream() == "42\n"
            assert (await api.request("POST", f"/api/kernels/{kernel}/restart")).code == 200
            socket = await api.connect(kernel)
            assert (await socket.execute("import os; print(os.environ['KERNEL_A'])")).stream() == "1\n"
            await eventually(api.pool, lambda pool: pool["warm"] >= 1)
            # the warm one of the older image goes, the other stays
            await eventually(running.containers, lambda left: len(before & set(left)) <= 1)
            new = await (await api.connect(await api.create())).execute("print('new')")
            assert new.stream() == "new\n"
    finally:
        await asyncio.to_thread(running.end)
