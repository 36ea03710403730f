"""SessionMaker: sessions on live kernels, within an owner's limit."""

from __future__ import annotations

import uuid
from collections import Counter
from dataclasses import replace

from ..errors import LimitReached
from ..kernelspecs.kernelspec import Kernelspec
from ..pool.claims import Claims
from ..pool.launcher import Launcher
from .journal import SessionJournal
from .policy import SessionPolicy
from .request import SessionRequest, directory
from .session import Session

__all__ = ["SessionMaker"]


class SessionMaker:
    """Makes sessions of claimed kernels.

    Invariant: an owner never has more than the rules allow, those that are just being made counted.
    """

    def __init__(self, claims: Claims, launcher: Launcher, chronicle: SessionJournal) -> None:
        self._claims = claims
        self._launcher = launcher
        self._chronicle = chronicle
        self._making: Counter[str] = Counter()

    async def make(
        self, spec: Kernelspec, wanted: SessionRequest, owner: str, living: int, rules: SessionPolicy
    ) -> Session:
        """Return a new session whose kernel has its environment, and which is written down.

        ``living``: how many its owner has. Raises `LimitReached`, `NoCapacity`, `InvalidWorkspace`, `SandboxFailed`,
        `EngineError`, `StoreFailed`.
        """
        having = living + self._making[owner]
        if having >= rules.max_per_owner:
            limit = f"limits.max_sessions_per_owner, {rules.max_per_owner}"
            raise LimitReached(f"this owner has {having} sessions, which is {limit}: end one", retry_after=5)
        self._claims.check_room()
        if rules.persist_by_default and not wanted.workspace_id:
            wanted = replace(wanted, workspace_id=str(uuid.uuid4()))
        self._making[owner] += 1
        try:
            return await self._make(spec, wanted, owner, rules)
        finally:
            self._making[owner] -= 1

    async def _make(self, spec: Kernelspec, wanted: SessionRequest, owner: str, rules: SessionPolicy) -> Session:
        acquired, attached = await self._claims.acquire(spec, wanted.workspace_id)
        kernel = acquired.kernel
        try:
            if wanted.mem_limit_mb or wanted.cpu_limit:
                await self._launcher.resize(kernel, wanted.cpu_limit, wanted.mem_limit_mb)
            detail = await kernel.prepare(wanted.env, directory(wanted.env))
            session = Session(
                kernel,
                owner,
                wanted.origin,
                rules.lifetime(wanted, spec),
                acquired.source,
                "; ".join(filter(None, (attached, detail))),
                wanted.name,
                wanted.labels,
                wanted.workspace_id,
            )
            self._chronicle.begun(session)
        except BaseException:
            self._claims.release(kernel)
            raise
        return session
