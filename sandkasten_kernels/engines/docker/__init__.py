"""Sandboxes as Docker containers."""

from .engine import DockerEngine

__all__ = ["DockerEngine"]
