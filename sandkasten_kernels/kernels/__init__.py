"""One sandbox with its guest, its kernel process and its shell."""

from .kernel import Change, Kernel, KernelState
from .record import KernelRecord, Recalled

__all__ = ["Change", "Kernel", "KernelRecord", "KernelState", "Recalled"]
