"""``sandkasten-kernels images build [NAME...]``."""

from __future__ import annotations

import signal
import sys
import time
from typing import Any

from traitlets import Unicode
from traitlets.config import Application

from .engines.docker import connect
from .errors import ConfigError, SandkastenError
from .image import ImageBuildError, build_images

__all__ = ["ImagesApp"]

NAMES = ("base", "python")
BUILD_TIMEOUT_SECONDS = 1800


class ImagesApp(Application):
    """Builds the images of the sandboxes: ``images build [base] [python] [--base=IMAGE]``."""

    name = "sandkasten-kernels images"
    description = __doc__ or ""
    examples = "sandkasten-kernels images build"
    base = Unicode("", help="The image to build from. Empty: an official slim one, or one made from packages.").tag(
        config=True
    )
    aliases: dict[str, str] = {"base": "ImagesApp.base"}
    flags: dict[str, Any] = {}

    def start(self) -> None:
        """Build what the arguments name."""
        verb, *names = self.extra_args or [""]
        unknown = [name for name in names if name not in NAMES]
        if verb != "build" or unknown:
            wrong = unknown[0] if unknown else verb
            raise ConfigError(f"images: unknown argument {wrong!r}; usage: images build [{'] ['.join(NAMES)}]")
        began = time.monotonic()
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that a half-made base image is cleaned up
        try:
            client = connect(BUILD_TIMEOUT_SECONDS)
            build_images(client, names or NAMES, base=self.base or None, report=_print)
        except (ImageBuildError, SandkastenError) as error:
            print(f"{self.name}: {error}", file=sys.stderr)
            sys.exit(1)
        _print(f"images are ready ({time.monotonic() - began:.0f} s)")


def _print(line: str) -> None:
    print(line, flush=True)
