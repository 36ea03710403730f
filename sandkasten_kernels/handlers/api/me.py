"""``GET /api/me``: who the caller is, and what it may do."""

from __future__ import annotations

import json
from typing import Any

from ...errors import InvalidRequest
from ..base import Handler

__all__ = ["MeHandler"]


class MeHandler(Handler):
    """``GET /api/me``; of the ``permissions`` asked for, ``{"resource": ["action"]}``, those that are granted."""

    def get(self) -> None:
        authenticator = self.services.authenticator
        allowed = authenticator.permissions()
        asked = _permissions(self.get_query_argument("permissions", ""))
        granted = {resource: [action for action in actions if action in allowed] for resource, actions in asked.items()}
        self.write_json(
            {
                "identity": authenticator.identity(),
                "permissions": {**granted, "updatable_fields": []},
            }
        )


def _permissions(text: str) -> dict[str, list[str]]:
    if not text:
        return {}
    try:
        asked: Any = json.loads(text)
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict) or not all(
        isinstance(actions, list) and all(isinstance(action, str) for action in actions) for actions in asked.values()
    ):
        raise InvalidRequest('permissions must be a JSON object, as in {"kernels": ["read", "execute"]}')
    return asked
