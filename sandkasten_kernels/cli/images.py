"""``sandkasten-kernels images build [NAME...]`` and ``images list``."""

from __future__ import annotations

import asyncio
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from traitlets import Unicode
from traitlets.config import Application

from ..config.application import ConfiguredApp
from ..config.keys import nearest
from ..engines import Engine
from ..engines.registry import find_engine
from ..errors import ConfigError, ImageBuildError, SandkastenError
from ..images.custom import CustomImage, custom_images
from ..images.names import STANDARD
from ..images.state import ImageState

__all__ = ["ImagesApp"]


class ImagesApp(Application):
    """Builds the images of the sandboxes, and lists them.

    `images build [NAME...] [--config=FILE] [--base=IMAGE]` builds the named images and their parents; without a name
    all of them: base, python, and the custom images of the configuration. `images list` shows the state of each.
    """

    name = "sandkasten-kernels images"
    description = __doc__ or ""
    examples = """
        sandkasten-kernels images build
        sandkasten-kernels images build science --config=sandkasten.yaml
        sandkasten-kernels images list --config=sandkasten.yaml
    """
    base = Unicode("", help="Image to build from. Empty: the official slim one, or one made from packages.").tag(
        config=True
    )
    aliases: dict[str, str] = {"base": "ImagesApp.base"}
    flags: dict[str, Any] = {}

    def initialize(self, argv: list[str] | None = None) -> None:
        """Split the arguments into verb, names and options; options other than `--base` are the gateway's."""
        self._words, self._options, ours = _sorted_arguments(argv or [])
        super().initialize(ours)

    def start(self) -> None:
        """Build or list images; exit with 1 when an image cannot be built. Raises `ConfigError`."""
        gateway = cast(ConfiguredApp, self.parent)
        settings = gateway.settings_of(self._options)
        gateway.update_config(settings.config)
        custom = custom_images(settings.value("images"))
        verb, *names = self._words or [""]
        _check_arguments(verb, names, (*STANDARD, *custom))
        # neither verb sets the engine up, so it puts nothing into its directory
        run_dir = Path(gateway.data_dir) / "run"
        engine = find_engine(gateway.engine)(parent=gateway, instance="images", run_dir=run_dir)
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a build then removes its container, as at Ctrl-C
        try:
            if verb == "build":
                began = time.monotonic()
                engine.build(names, custom, _print, self.base)
                _print(f"images are ready ({time.monotonic() - began:.0f} s)")
            else:
                _print_states(asyncio.run(_states(engine, custom, self.base)))
        except (ImageBuildError, SandkastenError) as error:
            print(f"{self.name}: {error}", file=sys.stderr)
            sys.exit(1)


async def _states(engine: Engine, custom: Mapping[str, CustomImage], base: str) -> list[ImageState]:
    try:
        return await engine.image_states(custom, base)
    finally:
        await engine.leave()


def _sorted_arguments(argv: Sequence[str]) -> tuple[list[str], list[str], list[str]]:
    """Return verb and names, the gateway's options, and ours; a word after an option without `=` is its value."""
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
