"""Where sandboxes run. Nothing outside this package knows Docker."""

from .base import Engine, Sandbox, SandboxSpec

__all__ = ["Engine", "Sandbox", "SandboxSpec"]
