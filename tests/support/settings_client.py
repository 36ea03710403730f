"""The settings over HTTP, as the tests ask for them."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

from tests.support.gateway_process import GatewayProcess
from tests.support.kernel_client import Api

KEY = "a-key-of-the-operators-0815"
CONFIG = f"""\
# The gateway of the third floor.
api_key: {KEY}  # {KEY} since May
pool:
  # many, because of the course
  images:
    python: 1  # warm
limits: {{max_sandboxes: 8}}
"""


class SettingsClient:
    """``/v1/settings`` of a gateway whose file can be looked at."""

    def __init__(self, api: Api, gateway: GatewayProcess) -> None:
        self.api = api
        self.gateway = gateway
        self.file = gateway.config

    async def model(self) -> dict[str, Any]:
        return dict(await self.api.get("/v1/settings"))

    async def setting(self, name: str) -> dict[str, Any]:
        model = await self.model()
        return next(found for section in model["sections"] for found in section["settings"] if found["name"] == name)

    async def put(self, code: int = 200, **body: Any) -> dict[str, Any]:
        """Return what a save answers, which has this status; the version is the file's where none is given."""
        if "version" not in body:
            body["version"] = (await self.model())["version"]
        response = await self.api.request("PUT", "/v1/settings", body)
        assert response.code == code, response.body
        assert KEY.encode() not in response.body
        return dict(json.loads(response.body))

    async def change(self, name: str, value: Any, code: int = 200) -> dict[str, Any]:
        return await self.put(code, changes={name: value})

    async def refused(self, **body: Any) -> dict[str, str]:
        """Return the message at each field of a save that is refused, and has changed nothing."""
        before = self.file.read_bytes()
        answer = await self.put(400, **body)
        assert answer["error_code"] == "INVALID_SETTINGS"
        assert self.file.read_bytes() == before
        return {error["name"]: error["message"] for error in answer["details"]["errors"]}


@contextmanager
def configured(folder: Path, engine: str = "docker") -> Iterator[GatewayProcess]:
    """A gateway with `CONFIG`, whose key is not in its log."""
    with GatewayProcess(folder, config=CONFIG, env={"SANDKASTEN_CPU_LIMIT": "0.5"}, engine=engine) as gateway:
        gateway.token = KEY
        yield gateway
        assert KEY not in gateway.log.read_text()


@asynccontextmanager
async def settings_of(gateway: GatewayProcess) -> AsyncIterator[SettingsClient]:
    """The settings of such a gateway, which are at the end as they were."""
    async with Api(gateway.url, gateway.token) as api:
        found = SettingsClient(api, gateway)
        await found.put(text=(await found.model())["text"])
        yield found
        gateway.config.write_text(CONFIG)
        await found.change("retention_seconds", 3599)  # puts what the file says in force
        gateway.config.write_text(CONFIG)
