"""Where sandboxes run. Nothing outside this package knows Docker."""

from .base import Engine, LeftSandbox, Sandbox, SandboxSpec, StoredWorkspace, Usage
from .host.door import Arrival, Door

__all__ = ["Arrival", "Door", "Engine", "LeftSandbox", "Sandbox", "SandboxSpec", "StoredWorkspace", "Usage"]
