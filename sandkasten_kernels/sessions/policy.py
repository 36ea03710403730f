"""What the operator has decided about sessions."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from ..kernelspecs.kernelspec import Kernelspec
from .lifetime import Lifetime
from .request import SessionRequest
from .session import Origin

__all__ = ["SessionPolicy"]


@dataclass(frozen=True, kw_only=True)
class SessionPolicy:
    """What the operator has decided about sessions; times are in seconds, 0 means never.

    Attributes
    ----------
    ttl_seconds: after its last use a session of ``/v1`` ends, when its caller did not say otherwise.
    kernel_ttl_seconds: the same for a kernel of ``/api``.
    max_lifetime_seconds: a session ends so long after its creation, however it is used.
    cull_connected: whether a session ends by its ttl while a client is connected.
    cull_busy: whether a session ends while something runs.
    retention_seconds: an ended session is still shown for so long.
    max_per_owner: sessions an owner may have at once.
    env_names: variables a caller of ``/api`` may set, besides ``KERNEL_*``.
    persist_by_default: whether a session that names no workspace has a new one that stays.
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

    def usual_ttl(self, origin: Origin, spec: Kernelspec) -> int:
        """Return the ttl of a session whose caller does not say one."""
        if spec.culling.ttl_seconds is not None:
            return spec.culling.ttl_seconds
        return self.ttl_seconds if origin == "v1" else self.kernel_ttl_seconds

    def lifetime(self, wanted: SessionRequest, spec: Kernelspec) -> Lifetime:
        """Return how long a session lives: what its kernelspec says goes before the rules.

        Its caller may choose another ttl, and besides only what makes its life shorter.
        """
        asked, own = wanted.culling, spec.culling
        ttl = asked.ttl_seconds or self.usual_ttl(wanted.origin, spec)
        usual = self.max_lifetime_seconds if own.max_lifetime_seconds is None else own.max_lifetime_seconds
        longest = min(filter(None, (asked.max_lifetime_seconds, usual)), default=0)
        connected = self.cull_connected if own.cull_connected is None else own.cull_connected
        busy = self.cull_busy if own.cull_busy is None else own.cull_busy
        return Lifetime(
            timedelta(seconds=ttl),
            timedelta(seconds=longest),
            connected or asked.cull_connected is True,
            busy or asked.cull_busy is True,
        )
