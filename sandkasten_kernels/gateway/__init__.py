"""The parts of one gateway: wired, started, adopted, changed and stopped."""

from .checks import check_settings, find_kernelspecs
from .components import engine_of, sandbox_specs
from .data_dir import DataDir, new_token, token_of
from .gateway import Gateway

__all__ = [
    "DataDir",
    "Gateway",
    "check_settings",
    "engine_of",
    "find_kernelspecs",
    "new_token",
    "sandbox_specs",
    "token_of",
]
