"""The Python SDK: `SandboxClient` for event loops, `SyncSandboxClient` for everything else.

The SDK imports no module of the gateway.
"""

from .agents import SandkastenContext, create_sandkasten_tools, sandbox_tools_for_workspace, sandkasten_tools
from .blocking import SyncSandboxClient, SyncSession, SyncWorkspace
from .client import SandboxClient
from .errors import (
    CommandFailed,
    CommandTimedOut,
    FileNotFound,
    GatewayNotFound,
    GatewayUnreachable,
    LimitReached,
    NoCapacity,
    SandboxAPIError,
    SandboxError,
    SessionExpired,
    SessionNotFound,
    StreamError,
    Unauthorized,
    WorkspaceInUse,
    WorkspaceNotFound,
)
from .infos import Event, PoolInfo, SessionInfo, SessionStats, WorkspaceInfo
from .outputs import CellError, Image, Output
from .results import ExecChunk, ExecResult, FileInfo, Listing, ReadResult, RunChunk, RunResult
from .session import Session
from .workspace import Workspace

SandkastenError = SandboxError
SandkastenAPIError = SandboxAPIError
SandkastenStreamError = StreamError

__all__ = [
    "CellError",
    "CommandFailed",
    "CommandTimedOut",
    "Event",
    "ExecChunk",
    "ExecResult",
    "FileInfo",
    "FileNotFound",
    "GatewayNotFound",
    "GatewayUnreachable",
    "Image",
    "LimitReached",
    "Listing",
    "NoCapacity",
    "Output",
    "PoolInfo",
    "ReadResult",
    "RunChunk",
    "RunResult",
    "SandboxAPIError",
    "SandboxClient",
    "SandboxError",
    "SandkastenAPIError",
    "SandkastenContext",
    "SandkastenError",
    "SandkastenStreamError",
    "Session",
    "SessionExpired",
    "SessionInfo",
    "SessionNotFound",
    "SessionStats",
    "StreamError",
    "SyncSandboxClient",
    "SyncSession",
    "SyncWorkspace",
    "Unauthorized",
    "Workspace",
    "WorkspaceInUse",
    "WorkspaceInfo",
    "WorkspaceNotFound",
    "create_sandkasten_tools",
    "sandbox_tools_for_workspace",
    "sandkasten_tools",
]
