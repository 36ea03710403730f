"""The catalogue of kernelspecs and the schema of `metadata.sandkasten`."""

from .custom import custom_kernelspecs
from .kernelspec import Kernelspec, Kernelspecs
from .metadata import DEFAULT_CULLING, Culling

__all__ = ["DEFAULT_CULLING", "Culling", "Kernelspec", "Kernelspecs", "custom_kernelspecs"]
