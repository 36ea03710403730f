"""Where sandboxes run: `base` is the contract, `host` what engines on this host share, `docker` one engine."""

from .base import Engine, Sandbox
from .host.door import Arrival, Door
from .host.sandbox import HostSandbox
from .spec import LeftSandbox, SandboxSpec, StoredWorkspace, Usage

__all__ = [
    "Arrival",
    "Door",
    "Engine",
    "HostSandbox",
    "LeftSandbox",
    "Sandbox",
    "SandboxSpec",
    "StoredWorkspace",
    "Usage",
]
