"""``sandkasten-kernels images build [NAME...]`` and ``images list``: the images of the sandboxes."""

from __future__ import annotations

import argparse
import asyncio
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from ..config import RootSettings, nearest
from ..engines import Engine, find_engine
from ..errors import ConfigError
from ..images import STANDARD, CustomImage, ImageState, custom_images
from .output import print_table
from .settings import SettingsCommand

__all__ = ["ImagesCommand"]


class ImagesCommand(SettingsCommand):
    """Builds the images of the sandboxes, or lists the state of each.

    `images build` builds the named images and their parents; without a name all of them: base, python, and the custom
    images of the configuration.
    """

    examples = """\
  sandkasten-kernels images build
  sandkasten-kernels images build science --config=sandkasten.yaml
  sandkasten-kernels images list --config=sandkasten.yaml"""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        parser.add_argument("verb", choices=("build", "list"))
        parser.add_argument("names", metavar="NAME", nargs="*", default=[], help="name of an image to build")
        parser.add_argument(
            "--base", default="", help="image to build from, instead of the official slim one or one made from packages"
        )
        parser.add_argument("--ImagesApp.base", dest="base", help=argparse.SUPPRESS)  # its name in earlier releases
        super().add_arguments(parser)

    def run(self, options: argparse.Namespace) -> int:
        settings = self.load(options).settings
        custom = custom_images(settings.value("images"))
        _check_names(options.verb, options.names, (*STANDARD, *custom))
        # neither verb sets the engine up, so the engine puts nothing into its directory
        engine = find_engine(settings.value("engine"))(
            config=settings.config,
            log=RootSettings(config=settings.config).log,
            instance="images",
            run_dir=Path(settings.value("data_dir")) / "run",
        )
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # a build then removes its container, as at Ctrl-C
        if options.verb == "build":
            began = time.monotonic()
            engine.build(options.names, custom, _print, options.base)
            _print(f"images are ready ({time.monotonic() - began:.0f} s)")
        else:
            states = asyncio.run(_states(engine, custom, options.base))
            print_table(("IMAGE", "SIZE", "BUILT", "STATE"), map(_row, states))
        return 0


async def _states(engine: Engine, custom: Mapping[str, CustomImage], base: str) -> list[ImageState]:
    try:
        return await engine.image_states(custom, base)
    finally:
        await engine.leave()


def _check_names(verb: str, names: Sequence[str], known: Sequence[str]) -> None:
    if verb == "list" and names:
        raise ConfigError(f"unknown argument {names[0]!r}: `images list` takes no names")
    for name in names:
        if name not in known:
            match = nearest(name, known)
            hint = f"did you mean {match}? " if match else ""
            raise ConfigError(
                f"there is no image {name!r}; {hint}there are {', '.join(known)}; "
                "the configuration names custom images (--config=FILE)"
            )


def _row(state: ImageState) -> tuple[object, ...]:
    size = f"{state.size / 1e6:.0f} MB" if state.size else ""
    return (state.reference, size, state.created[:16].replace("T", " "), state.status.value)


def _print(line: str) -> None:
    print(line, flush=True)
