"""Warm kernels, and how a caller claims one with its workspace."""

from .claims import Claims
from .launcher import Launcher, sandbox_spec
from .left import LeftKernel
from .pool import Pool
from .register import StoredRegister

__all__ = ["Claims", "Launcher", "LeftKernel", "Pool", "StoredRegister", "sandbox_spec"]
