"""KernelProcess: starts a kernel's process, or the guest's bash, and connects to it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ..callbacks import Callbacks
from ..engines import WORKSPACE, Sandbox
from ..kernelspecs import Kernelspec
from ..relay import MAX_MESSAGE_BYTES, GuestLink, KernelLink, LinkError, read_backlog
from .record import KernelRecord, Note, Recalled, left_sandbox, recall
from .setup_code import READ_AT_START, set_up, silent, user_base
from .shell import guest_sockets, socket_names

__all__ = ["KernelProcess"]

START_SECONDS, GUEST_SECONDS = 60.0, 1.0
RESUME_SECONDS = 10.0
AFTER_CLAIM_SECONDS, MAX_ERROR_CHARS = 30.0, 300


class KernelProcess:
    """Starts the process behind a kernel's link, each time with its owner's environment and directory.

    Attributes
    ----------
    env, cwd: the owner's environment and working directory.
    owned: whether the kernel has an owner; `after_claim` runs for an owner only.
    pid: the process id in the sandbox; None where the guest itself is the kernel, and while a process is replaced.
    record: how a later gateway process reaches the kernel; None before the first start.
    """

    def __init__(self, kernel_id: str, sandbox: Sandbox, spec: Kernelspec, guest: GuestLink, link: KernelLink) -> None:
        self._id = kernel_id
        self._sandbox = sandbox
        self._spec = spec
        self._guest = guest
        self._link = link
        self.env: dict[str, str] = {}
        self.cwd: str | None = None
        self.owned = False
        self.pid: object = None
        self.record: KernelRecord | None = None
        self._connected: Callbacks[[]] = Callbacks()

    def on_connected(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` whenever `record` has changed."""
        self._connected.add(callback)

    async def give_owner(self, env: Mapping[str, str], cwd: str | None, *, in_workspace: bool) -> bool:
        """Give the process to an owner; return True when it has to be started anew for that, by `run`.

        False: the process has environment and directory, ahead of the owner's first request, and `after_claim` has run.
        True: some variables are read only when a process starts, or there is no set-up code for the kernel's language.
        ``in_workspace``: start in the workspace, with its user base. Raises `LinkError`, also when `after_claim` fails.
        """
        needs_restart = self._take(env, cwd, in_workspace=in_workspace)
        # First: if the gateway ends now, the next one must not give the kernel to another owner.
        self.leave_note()
        if needs_restart:
            return True
        if self.env or self.cwd:
            self._set_up(self.env)
        await self._after_claim()
        return False

    def _take(self, env: Mapping[str, str], cwd: str | None, *, in_workspace: bool) -> bool:
        # Before the workspace adds its own variables: set-up code handles those in a running Python.
        at_start_alone = any(map(READ_AT_START.match, env))
        if in_workspace:
            env, cwd = {**user_base(WORKSPACE), **env}, cwd or WORKSPACE
        self.owned, self.env, self.cwd = True, dict(env), cwd
        language = self._spec.spec.language
        known = set_up(language, env, cwd) is not None
        return bool(env) and (not known or (language == "python" and at_start_alone))

    async def run(self, request: str, extra: Mapping[str, Any]) -> None:
        """Start a process, or a new bash of the guest; return when it has answered and has what its owner asked for.

        ``request`` is the guest's message type, ``extra`` goes into its content. Raises `LinkError`.
        """
        # The death of the process that is replaced must not count as the death of the next one.
        self.pid = None
        if self._spec.in_guest:
            await self._guest.call("shell_restart_request", {}, GUEST_SECONDS)
            names, key = await guest_sockets(self._guest), self._sandbox.guest_key
        else:
            names, key = await self._start(request, extra)
        await self._link.open(self._sandbox, names, key, START_SECONDS)
        self.record = KernelRecord(
            id=self._id,
            kernelspec=self._spec.name,
            sandbox=left_sandbox(self._sandbox),
            key="" if self._spec.in_guest else key.decode(),  # the sandbox's own record has the guest's key
            sockets=dict(names),
            identity=self._link.identity.decode(),
            session=self._link.session,
            pid=self.pid if isinstance(self.pid, int) else 0,
        )
        self.leave_note()
        self._connected()
        await self._run_spec_code("warm_up", self._spec.warm_up, START_SECONDS)
        # A process has had the environment since its start and only enters its directory; bash needs both.
        if self.cwd or (self._spec.in_guest and self.env):
            self._set_up(self.env)
        if self.owned:
            await self._after_claim()

    async def resume(self, record: KernelRecord) -> tuple[Recalled, str]:
        """Return what the guest remembers of a process that an earlier gateway left, and why it cannot be used.

        An empty reason: it is connected, and none of its messages since then is lost. Raises `LinkError` when the guest
        does not answer.
        """
        self.record, self.pid = record, None if self._spec.in_guest else record.pid
        recalled = await recall(self._guest)
        if note := recalled.note:
            self.owned, self.env, self.cwd = note.owned, dict(note.env), note.cwd
        problem = ""
        if not self._spec.in_guest and recalled.pid not in (None, record.pid):  # None: an older guest
            problem = "it ended while the gateway was away"
        try:
            if not problem:
                names = await guest_sockets(self._guest) if self._spec.in_guest else record.sockets
                key = self._sandbox.guest_key if self._spec.in_guest else record.key.encode()
                backlog = partial(read_backlog, self._guest, max_message_bytes=MAX_MESSAGE_BYTES)
                await self._link.resume(self._sandbox, names, key, backlog, RESUME_SECONDS)
        except LinkError as error:
            problem = f"it could not be reached when the gateway was back: {error}"
        if problem:
            # Nobody needs the backlog of a dead process; reading it lets the guest publish by itself again.
            async for _ in read_backlog(self._guest, "", MAX_MESSAGE_BYTES):
                pass
        return recalled, problem

    def leave_note(self) -> None:
        """Let the guest store what a later gateway process needs. Raises `LinkError`."""
        note = Note(self._link.identity.decode(), self.owned, self.env, self.cwd)
        self._guest.post("remember_request", {"note": vars(note)})

    def _set_up(self, env: Mapping[str, str]) -> None:
        """Send the request that sets environment and directory, ahead of any later one. Raises `LinkError`."""
        if request := set_up(self._spec.spec.language, env, self.cwd):
            self._link.post("shell", "execute_request", request)

    async def _after_claim(self) -> None:
        """Run the kernelspec's `after_claim`. Raises `LinkError`, also when that fails."""
        await self._run_spec_code("after_claim", self._spec.after_claim, AFTER_CLAIM_SECONDS)

    async def _start(self, request: str, extra: Mapping[str, Any]) -> tuple[Mapping[str, str], bytes]:
        """Return the names of the sockets of a new kernel process, and the key of its connection."""
        key = secrets.token_hex(32)
        content = {
            "argv": self._spec.spec.argv,
            "env": {**self._spec.spec.env, **self.env},
            "cwd": self._sandbox.workspace,
            "key": key,
            "deadline": START_SECONDS,
            **extra,
        }
        # Longer than `deadline` above, so that the guest's own error, which names the cause, comes first.
        answer = await self._guest.call(request, content, START_SECONDS + 5)
        self.pid = answer.get("pid")
        return socket_names(answer), key.encode()

    async def _run_spec_code(self, name: str, code: str, timeout: float) -> None:
        """Run code of the kernelspec, silently. Raises `LinkError`, also when the code itself fails."""
        if not code:
            return
        reply = (await self._link.call("shell", "execute_request", silent(code), timeout)).content
        if reply.get("status") != "ok":
            error = f"{reply.get('ename')}: {reply.get('evalue')}"[:MAX_ERROR_CHARS]
            # From a sandbox: escape sequences must not reach a terminal through a log.
            printable = "".join(c if c.isprintable() else " " for c in error)
            raise LinkError(f"its {name} failed: {printable}")
