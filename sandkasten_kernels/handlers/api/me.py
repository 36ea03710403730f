"""``GET /api/me``: the caller's identity and permissions."""

from __future__ import annotations

import json
from typing import Any

from ...errors import InvalidRequest
from ..base import Handler

__all__ = ["MeHandler"]


class MeHandler(Handler):
    """``GET /api/me``: the identity, and those of the requested ``permissions`` that the caller has.

    ``permissions`` in the query: a JSON object as ``{"resource": ["action"]}``.
    """

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
        raise InvalidRequest('permissions: must be a JSON object, as in {"kernels": ["read", "execute"]}')
    return asked
