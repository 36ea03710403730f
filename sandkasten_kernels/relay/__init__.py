"""Kernel sockets on one side, clients on the other."""

from .backlog import read_backlog
from .calls import LinkError
from .guest_link import MAX_DATA_BYTES, GuestLink
from .link import MAX_MESSAGE_BYTES, Client, KernelLink
from .replay import Message, size_of
from .seats import Connection, Seat, Seats

__all__ = [
    "MAX_DATA_BYTES",
    "MAX_MESSAGE_BYTES",
    "Client",
    "Connection",
    "GuestLink",
    "KernelLink",
    "LinkError",
    "Message",
    "Seat",
    "Seats",
    "read_backlog",
    "size_of",
]
