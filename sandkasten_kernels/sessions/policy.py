"""SessionPolicy: the operator's settings for sessions."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

from ..kernels import Kernel
from ..kernelspecs import Kernelspec
from ..store import Record
from .lifetime import Lifetime
from .request import SessionRequest

__all__ = ["SessionPolicy"]


@dataclass(frozen=True, kw_only=True)
class SessionPolicy:
    """The operator's settings for sessions. Times are in seconds; 0 means no limit.

    Attributes
    ----------
    ttl_seconds: a session of ``/v1`` ends this long after its last use, unless its caller chose another ttl.
    kernel_ttl_seconds: the same for a kernel of ``/api``.
    max_lifetime_seconds: a session ends this long after its creation, used or not.
    cull_connected: whether the ttl also counts while a client is connected.
    cull_busy: whether a session ends while something runs.
    retention_seconds: an ended session stays in lists for this long.
    max_per_owner: sessions that an owner may have at once.
    env_names: variables that a caller of ``/api`` may set, besides ``KERNEL_*``.
    persist_by_default: whether a session that names no workspace gets a new one that outlives it.
    """

    ttl_seconds: int = 1800
    kernel_ttl_seconds: int = 43200
    max_lifetime_seconds: int = 0
    cull_connected: bool = False
    cull_busy: bool = False
    retention_seconds: int = 3600
    max_per_owner: int = 64
    env_names: frozenset[str] = frozenset()
    persist_by_default: bool = False

    def default_ttl(self, origin: str, spec: Kernelspec) -> int:
        """Return the ttl in seconds of a session without a ttl of its caller."""
        if spec.culling.ttl_seconds is not None:
            return spec.culling.ttl_seconds
        return self.ttl_seconds if origin == "v1" else self.kernel_ttl_seconds

    def lifetime(self, request: SessionRequest, spec: Kernelspec) -> Lifetime:
        """Return the lifetime of a new session. A kernelspec's values take precedence over this policy.

        The caller may choose any ttl; every other choice of the caller can only shorten the session's life.
        """
        asked, own = request.culling, spec.culling
        age = self.max_lifetime_seconds if own.max_lifetime_seconds is None else own.max_lifetime_seconds
        connected = self.cull_connected if own.cull_connected is None else own.cull_connected
        busy = self.cull_busy if own.cull_busy is None else own.cull_busy
        return Lifetime(
            ttl_seconds=asked.ttl_seconds or self.default_ttl(request.origin, spec),
            # 0 is no limit, so it must not win as the smallest
            max_lifetime_seconds=min(filter(None, (asked.max_lifetime_seconds, age)), default=0),
            cull_connected=connected or asked.cull_connected is True,
            cull_busy=busy or asked.cull_busy is True,
        )

    def record(self, request: SessionRequest, kernel: Kernel, owner: str, source: str, *details: str | None) -> Record:
        """Return the record of a new session on a claimed kernel.

        Parameters
        ----------
        source: ``pool`` or ``cold``.
        details: what was special about the claim, as sentences; empty ones are left out.
        """
        spec, now = kernel.spec, time.time()
        facts = request.stored() | asdict(self.lifetime(request, spec)) | {"kernelspec": spec.name}
        return Record(
            id=kernel.id,
            owner=owner,
            image=spec.image,
            sandbox=kernel.sandbox.handle,
            acquire_source=source,
            acquire_detail="; ".join(filter(None, details)),
            created=now,
            last_activity=now,
            **facts,
        )
