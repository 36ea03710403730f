"""Checks of a machine before a gateway serves on it."""

from .doctor import examine

__all__ = ["examine"]
