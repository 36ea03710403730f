"""OpenRequests: which client waits for which reply; pure, synchronous, without I/O."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Generic, TypeVar

from ..protocol import Parts, json_object

__all__ = ["Delivery", "OpenRequest", "OpenRequests"]

C = TypeVar("C")
MAX_OPEN = 4096
MAX_SESSIONS = 256
MAX_HELD_BYTES = 32 * 1024 * 1024


@dataclass(eq=False)
class OpenRequest(Generic[C]):
    """A client's request until it is done: both its reply and its ``idle`` have come."""

    client: C
    msg_id: str
    kind: str
    header: bytes
    idle: bool = False
    replied: bool = False
    held: Parts | None = None


@dataclass(frozen=True)
class Delivery(Generic[C]):
    """A reply to send to a client now."""

    client: C
    parts: Parts


class OpenRequests(Generic[C]):
    """Finds the client of a reply, and holds an ``execute_reply`` until its output is complete.

    Invariants:

    - an ``execute_reply`` is given out once: after the iopub ``idle`` of its request, or by `release`;
    - a message of one client never takes over a request of another client, even with the same id;
    - at most `MAX_OPEN` requests and `MAX_SESSIONS` sessions are kept; of the requests, executions go last;
    - held replies have at most `MAX_HELD_BYTES` together; a reply above that is given out at once.
    """

    def __init__(self) -> None:
        self._requests: OrderedDict[str, OpenRequest[C]] = OrderedDict()
        self._sessions: OrderedDict[str, C] = OrderedDict()
        self._inherited: set[str] | None = None
        self._held_bytes = 0

    def __len__(self) -> int:
        return len(self._requests)

    @property
    def sessions(self) -> Mapping[str, C]:
        """The clients by the Jupyter sessions in the headers of their messages."""
        return self._sessions

    def inherit(self, sessions: Mapping[str, C]) -> None:
        """Find requests of an earlier process by these sessions, until `inherited` is called."""
        self._sessions.update(sessions)
        self._inherited = set()

    def note_parent(self, parent: bytes) -> None:
        """Note the parent header of a kernel's message; a request that an earlier process sent is open from now on."""
        # The parent comes from the sandbox, which can invent any number of ids.
        if self._inherited is None or len(self._inherited) >= MAX_OPEN:
            return
        fields = json_object(parent)
        msg_id, client = str(fields.get("msg_id")), self._sessions.get(str(fields.get("session")))
        if client is not None and msg_id not in self._inherited and msg_id not in self._requests:
            self._inherited.add(msg_id)
            self.add(client, parent)

    def inherited(self) -> None:
        """Forget the requests of an earlier process that have no reply: none will come."""
        for msg_id in self._inherited or ():
            if (request := self._requests.get(msg_id)) and not request.replied:
                del self._requests[msg_id]
        self._inherited = None

    def add(self, client: C, header: bytes) -> bool:
        """Note the header of a client's message; return whether its Jupyter session is a new one."""
        fields = json_object(header)
        msg_id, session, kind = fields.get("msg_id"), fields.get("session"), fields.get("msg_type")
        new = isinstance(session, str) and session not in self._sessions
        if isinstance(session, str):
            self._sessions[session] = client
            self._sessions.move_to_end(session)
            if len(self._sessions) > MAX_SESSIONS:
                self._sessions.popitem(last=False)
        if not isinstance(msg_id, str) or not isinstance(kind, str) or not kind.endswith("_request"):
            return new
        # Ids come from clients: one that copies another client's id must not get the replies to it.
        known = self._requests.get(msg_id)
        if known is None or known.client is client:
            self._requests[msg_id] = OpenRequest(client, msg_id, kind, header)
        if len(self._requests) > MAX_OPEN:
            self._evict()
        return new

    def client_of(self, parent: bytes) -> C | None:
        """Return the client of the request that a message answers: by its id or, when it is done, by its session."""
        fields = json_object(parent)
        if request := self._requests.get(str(fields.get("msg_id"))):
            return request.client
        return self._sessions.get(str(fields.get("session")))

    def reply(self, parts: Parts) -> tuple[Delivery[C] | None, OpenRequest[C] | None]:
        """Take a kernel's reply; return the delivery to make now, and the request whose reply is held from now on."""
        request = self._requests.get(str(json_object(parts[1]).get("msg_id")))
        if request is None:
            # Done or forgotten already: its session still names the client.
            client = self.client_of(parts[1])
            return (Delivery(client, parts) if client is not None else None), None
        request.replied = True
        known = self.release(request) is not None  # a kernel may reply twice: the last reply is kept
        size = sum(map(len, parts))
        if request.kind == "execute_request" and not request.idle and self._held_bytes + size <= MAX_HELD_BYTES:
            request.held = parts
            self._held_bytes += size
            return None, None if known else request
        self._forget_if_done(request)
        return Delivery(request.client, parts), None

    def idle(self, parent: bytes) -> Delivery[C] | None:
        """Note that the kernel is idle after a request; return the reply that was held for it, if any."""
        request = self._requests.get(str(json_object(parent).get("msg_id")))
        if request is None:
            return None
        request.idle = True
        self._forget_if_done(request)
        return self.release(request)

    def unanswered(self, parent: bytes) -> OpenRequest[C] | None:
        """Return the execution with this header, if it has no reply."""
        request = self._requests.get(str(json_object(parent).get("msg_id")))
        return request if request and request.kind == "execute_request" and not request.replied else None

    def give_up(self, request: OpenRequest[C]) -> bool:
        """Forget a request without a reply; False if it has one or is forgotten already."""
        if request.replied or self._requests.get(request.msg_id) is not request:
            return False
        del self._requests[request.msg_id]
        return True

    def release(self, request: OpenRequest[C]) -> Delivery[C] | None:
        """Return a held reply, once."""
        parts, request.held = request.held, None
        self._held_bytes -= sum(map(len, parts or ()))
        return Delivery(request.client, parts) if parts is not None else None

    def forget(self, client: C) -> None:
        """Forget the sessions of a client that is gone."""
        for session in [session for session, other in self._sessions.items() if other is client]:
            del self._sessions[session]

    def executing(self) -> list[OpenRequest[C]]:
        """Return the executions that are not done."""
        return [r for r in self._requests.values() if r.kind == "execute_request" and not r.idle]

    def drain(self) -> Iterator[OpenRequest[C]]:
        """Forget every request that is not done, and yield them."""
        requests, self._requests = self._requests, OrderedDict()
        yield from requests.values()

    def _forget_if_done(self, request: OpenRequest[C]) -> None:
        if request.idle and request.replied:
            self._requests.pop(request.msg_id, None)

    def _evict(self) -> None:
        # A client may send any number of requests without replies; executions are the ones that it waits for.
        oldest = next((r for r in self._requests.values() if r.kind != "execute_request"), None)
        self._requests.pop(oldest.msg_id if oldest else next(iter(self._requests)))
