"""A Jupyter kernel gateway whose kernels already run, each alone in a locked-down container; and its Python SDK.

The SDK's names (`SandboxClient`, `SyncSandboxClient` and the rest of `client`) are loaded when first asked for.
"""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import *  # noqa: F403

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    if not name.startswith("_"):
        client = importlib.import_module(".client", __name__)
        if name in client.__all__:
            return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
