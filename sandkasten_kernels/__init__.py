"""A Jupyter kernel gateway with kernels that already run, each alone in a locked-down container; and its Python SDK.

The names of the SDK (`SandboxClient`, `SyncSandboxClient` and the rest of `client`) are loaded at their first use.
"""

import importlib.util
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .client import *  # noqa: F403

__version__ = "0.1.0"


def __getattr__(name: str) -> Any:
    # Python also calls this for a module of the package that is not imported yet
    if not name.startswith("_") and importlib.util.find_spec(f"{__name__}.{name}") is None:
        client = importlib.import_module(".client", __name__)
        if name in client.__all__:
            return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
