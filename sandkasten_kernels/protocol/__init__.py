"""Bytes on the wire, nothing else: ZMTP 3, Jupyter messages, WebSocket frames."""

from .frames import V1, MalformedFrame, legacy_decode, legacy_encode, split_stream, v1_decode, v1_encode
from .messages import EMPTY, Parts, Reply, Signer, build, json_object, message_type, parts_of, timestamp, told_state
from .sockets import Endpoint, SocketError, ZmtpSocket
from .zmtp import MemoryBudget

__all__ = [
    "EMPTY",
    "V1",
    "Endpoint",
    "MalformedFrame",
    "MemoryBudget",
    "Parts",
    "Reply",
    "Signer",
    "SocketError",
    "ZmtpSocket",
    "build",
    "json_object",
    "legacy_decode",
    "legacy_encode",
    "message_type",
    "parts_of",
    "split_stream",
    "timestamp",
    "told_state",
    "v1_decode",
    "v1_encode",
]
