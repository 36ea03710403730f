"""A Jupyter kernel gateway whose kernels already run, each alone in a locked-down container; and its Python SDK.

The SDK's names (`SandboxClient`, `SyncSandboxClient` and the rest of `client`) are loaded when first asked for.
"""

import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import *  # noqa: F403

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # a module of the package is asked for here too, before it is imported
    if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}") is None:
        client = importlib.import_module(".client", __name__)
        if name in client.__all__:
            return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
