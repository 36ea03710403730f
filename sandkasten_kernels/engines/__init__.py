"""Where sandboxes run: `base` is the contract, `host` what engines on this host share, `docker` one engine."""

from .base import Engine, Sandbox
from .finding import Finding, Level, ok, problem, warning
from .host.door import Arrival, Door
from .host.sandbox import HostSandbox
from .registry import engine_names, find_engine
from .spec import WORKSPACE, LeftSandbox, SandboxSpec, StoredWorkspace, Usage, signal_name
from .workspace_name import is_workspace_name, workspace_name

__all__ = [
    "WORKSPACE",
    "Arrival",
    "Door",
    "Engine",
    "Finding",
    "HostSandbox",
    "LeftSandbox",
    "Level",
    "Sandbox",
    "SandboxSpec",
    "StoredWorkspace",
    "Usage",
    "engine_names",
    "find_engine",
    "is_workspace_name",
    "ok",
    "problem",
    "signal_name",
    "warning",
    "workspace_name",
]
