"""``sandkasten-kernels images build [NAME...]`` and ``images list``."""

from __future__ import annotations

import signal
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, cast

from traitlets import Unicode
from traitlets.config import Application

from ..config.application import ConfiguredApp
from ..config.keys import nearest
from ..engines.docker.builder.images import build_images
from ..engines.docker.builder.state import image_states
from ..engines.docker.connection import connect
from ..engines.docker.images import ENGINE_ERRORS
from ..errors import ConfigError, ImageBuildError, SandkastenError
from ..images.custom import CustomImage, custom_images
from ..images.names import STANDARD
from ..images.state import ImageState

__all__ = ["ImagesApp"]

BUILD_TIMEOUT_SECONDS = 1800


class ImagesApp(Application):
    """Builds the images of the sandboxes, and lists them.

    `images build [NAME...] [--config=FILE] [--base=IMAGE]` builds those that are named and what they stand on;
    without a name all: base, python, and the configuration's own. `images list` says which there are.
    """

    name = "sandkasten-kernels images"
    description = __doc__ or ""
    examples = """
        sandkasten-kernels images build
        sandkasten-kernels images build science --config=sandkasten.yaml
        sandkasten-kernels images list --config=sandkasten.yaml
    """
    base = Unicode("", help="The image to build from. Empty: an official slim one, or one made from packages.").tag(
        config=True
    )
    aliases: dict[str, str] = {"base": "ImagesApp.base"}
    flags: dict[str, Any] = {}

    def initialize(self, argv: list[str] | None = None) -> None:
        """Keep verb and names apart from the options; all of these but ours are the gateway's own."""
        self._words, self._options, ours = _sorted_arguments(argv or [])
        super().initialize(ours)

    def start(self) -> None:
        """Do what the arguments say; exit with 1 when an image cannot be built. Raises `ConfigError`."""
        gateway = cast(ConfiguredApp, self.parent)
        own = custom_images(gateway.settings_of(self._options).value("images"))
        verb, *names = self._words or [""]
        _check_arguments(verb, names, (*STANDARD, *own))
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that what is half made is cleaned up
        try:
            if verb == "build":
                self._build(names, own)
            else:
                _print_states(image_states(connect(), own, base=self.base or None))
        except (ImageBuildError, SandkastenError, *ENGINE_ERRORS) as error:
            print(f"{self.name}: {error}", file=sys.stderr)
            sys.exit(1)

    def _build(self, names: Sequence[str], own: Mapping[str, CustomImage]) -> None:
        began = time.monotonic()
        client = connect(BUILD_TIMEOUT_SECONDS)
        build_images(client, names or (*STANDARD, *own), base=self.base or None, report=_print, own=own)
        _print(f"images are ready ({time.monotonic() - began:.0f} s)")


def _sorted_arguments(argv: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Return the words, the gateway's options and our own; a word after an option without `=` is its value."""
    words: list[str] = []
    options: list[str] = []
    ours: list[str] = []
    for before, word in zip(["", *argv], argv, strict=False):
        is_value = before.startswith("--") and "=" not in before
        if word in ("-h", "--help", "--help-all") or word.partition("=")[0] in ("--base", "--ImagesApp.base"):
            ours.append(word)
        elif word.startswith("-") or is_value:
            (ours if is_value and before in ours else options).append(word)
        else:
            words.append(word)
    return words, options, ours


def _check_arguments(verb: str, names: Sequence[str], known: Sequence[str]) -> None:
    usage = f"usage: images build [{'] ['.join(known)}], or images list"
    if verb not in ("build", "list") or (verb == "list" and names):
        wrong = names[0] if verb == "list" else verb
        raise ConfigError(f"images: unknown argument {wrong!r}; {usage}")
    for name in names:
        if name not in known:
            match = nearest(name, known)
            hint = f"did you mean {match}? " if match else ""
            raise ConfigError(
                f"images: there is no image {name!r}; {hint}there are {', '.join(known)}; "
                "images of your own are named in the configuration (--config=FILE)"
            )


def _print_states(states: Sequence[ImageState]) -> None:
    rows = [("IMAGE", "SIZE", "BUILT", "STATE")]
    for state in states:
        size = f"{state.size / 1e6:.0f} MB" if state.size else "-"
        rows.append((state.reference, size, state.created[:16].replace("T", " ") or "-", state.standing.value))
    widths = [max(len(row[column]) for row in rows) for column in range(3)]
    for row in rows:
        _print("  ".join((*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[3])))


def _print(line: str) -> None:
    print(line, flush=True)
