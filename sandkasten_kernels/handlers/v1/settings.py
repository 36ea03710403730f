"""``GET`` and ``PUT /v1/settings``: the settings with their values, and saving changes."""

from __future__ import annotations

import json
from typing import Any

from ...errors import InvalidRequest
from .base import V1Handler

__all__ = ["SettingsHandler"]


class SettingsHandler(V1Handler):
    """``GET`` and ``PUT /v1/settings``."""

    async def get(self) -> None:
        self.write_json(await self.services.settings.model())

    async def put(self) -> None:
        body = self.json_body()
        text, dry_run = body.get("text"), body.get("dry_run", False)
        changes, sources = _object(body, "changes"), _object(body, "yaml")
        if not isinstance(body.get("version"), str):
            raise InvalidRequest("version: is needed; send the one of GET /v1/settings")
        try:
            # json.loads lets encoded surrogates pass, in the bytes as well as in escapes
            self.request.body.decode()
            json.dumps([text, changes, sources], ensure_ascii=False).encode()
        except UnicodeError:
            raise InvalidRequest("the settings have a character that UTF-8 does not allow (a lone surrogate)") from None
        except RecursionError:
            raise InvalidRequest("the settings are nested too deeply") from None
        if not isinstance(text, str | None) or not isinstance(dry_run, bool):
            raise InvalidRequest("text: must be a string; dry_run: must be true or false")
        if not all(isinstance(source, str) for source in sources.values()):
            raise InvalidRequest("yaml: must be an object of strings")
        if (text is None) == (not changes and not sources):
            raise InvalidRequest("send either changes and yaml, or text")
        saved = await self.services.settings.save(body["version"], changes, sources, text, dry_run=dry_run)
        self.write_json(saved)


def _object(body: dict[str, Any], name: str) -> dict[str, Any]:
    found = body.get(name) or {}
    if not isinstance(found, dict):
        raise InvalidRequest(f"{name}: must be an object whose keys are names of settings")
    return found
