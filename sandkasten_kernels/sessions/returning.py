"""ReturningSessions: sessions of an earlier gateway process that this one is still adopting."""

from __future__ import annotations

from typing import Any

from ..errors import SandboxFailed
from ..store import Record
from .views import expected_model

__all__ = ["ReturningSessions"]


class ReturningSessions:
    """The sessions that exist but cannot be used yet: clients see them in lists, and try again a second later."""

    def __init__(self) -> None:
        self._records: dict[str, Record] = {}

    def add(self, record: Record) -> None:
        """List a session until `discard`."""
        self._records[record.id] = record

    def discard(self, session_id: str) -> None:
        """Forget a session whose adoption is decided; no-op for one that is not here."""
        self._records.pop(session_id, None)

    def check(self, session_id: str) -> None:
        """Raise `SandboxFailed` (503, try again in a second) for a session that is still being adopted."""
        if session_id in self._records:
            words = "the gateway was restarted and is still taking this session over: try again"
            raise SandboxFailed(words, retry_after=1)

    def models(self, owner: str) -> list[dict[str, Any]]:
        """Return the kernels of one owner's sessions as ``/api/kernels`` shows them."""
        return [expected_model(record) for record in self._records.values() if record.owner == owner]
