"""The catalogue of kernelspecs that the gateway offers, read once at start."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jupyter_client.kernelspec import KernelSpec
from traitlets import TraitError

from .errors import ConfigError, UnknownKernelspec
from .paths import asset_dir

__all__ = ["Kernelspec", "Kernelspecs"]

ALIASES = {"python": "python3"}
_NAME = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Kernelspec:
    """One kernelspec and the image that it runs in.

    `resources` are the files that are served, by name; `warm_up` is code that a kernel runs silently before it is warm;
    `in_guest`: the kernel is the sandbox's own guest, whose language is bash, and not a process of its own.
    """

    name: str
    image: str
    spec: KernelSpec
    resource_dir: Path
    resources: Mapping[str, Path]
    warm_up: str = ""
    in_guest: bool = False

    def model(self, base_url: str = "/") -> dict[str, Any]:
        """Return the kernelspec as jupyter_server shows it; `resources` has the URL of each file."""
        prefix = f"{base_url.rstrip('/')}/kernelspecs/{self.name}"
        urls = {
            Path(file).stem if file.startswith("logo-") else file: f"{prefix}/{quote(file)}" for file in self.resources
        }
        return {"name": self.name, "spec": self.spec.to_dict(), "resources": urls}


class Kernelspecs:
    """The kernelspecs found in `directories`, of allowed images only.

    `directories`: each holds one directory per kernelspec, the first that has a name wins; None means ours.
    `extra`: further ones that stand in no directory.
    `allowed_images`: empty allows every image that a kernelspec names. The default kernelspec is the first,
    by name, of `default_image`. Iterating gives them in the order of their names. Raises `ConfigError` for a
    malformed kernelspec and when there is no default one.
    """

    def __init__(
        self,
        directories: Sequence[Path] | None = None,
        *,
        allowed_images: Collection[str] = (),
        default_image: str = "python",
        extra: Iterable[Kernelspec] = (),
    ) -> None:
        if directories is None:
            directories = [asset_dir("kernelspecs")]
        found: dict[str, Kernelspec] = {}
        for directory in directories:
            for resource_dir in _kernel_dirs(directory):
                if resource_dir.name.lower() not in found:
                    kernelspec = _read(resource_dir)
                    found[kernelspec.name] = kernelspec
        for kernelspec in extra:
            found.setdefault(kernelspec.name, kernelspec)
        self._specs = {
            name: spec for name, spec in sorted(found.items()) if not allowed_images or spec.image in allowed_images
        }
        default = self.for_image(default_image)
        if default is None:
            raise ConfigError(
                f"default_image: no kernelspec runs in the image {default_image!r}; "
                f"images with one: {', '.join(self.images()) or 'none'}"
            )
        self.default = default

    def __repr__(self) -> str:
        return f"<Kernelspecs {', '.join(self._specs)}; default {self.default.name}>"

    def __iter__(self) -> Iterator[Kernelspec]:
        return iter(self._specs.values())

    def images(self) -> list[str]:
        """Return the images that have a kernelspec, in order and each once."""
        return sorted({spec.image for spec in self._specs.values()})

    def get(self, name: str | None = None) -> Kernelspec:
        """Return the kernelspec `name`; None and "" mean the default one, `python` means `python3`.

        Raises `UnknownKernelspec`, whose message has the known names.
        """
        if not name:
            return self.default
        for candidate in (name, ALIASES.get(name, name)):
            if candidate in self._specs:
                return self._specs[candidate]
        raise UnknownKernelspec(f"No kernelspec named {_shown(name)}. Known: {', '.join(self._specs)}.")

    def for_image(self, image: str) -> Kernelspec | None:
        """Return the first kernelspec, by name, that runs in `image`; None if there is none."""
        return next((spec for spec in self._specs.values() if spec.image == image), None)

    def models(self, base_url: str = "/") -> dict[str, Any]:
        """Return what `GET /api/kernelspecs` answers."""
        return {
            "default": self.default.name,
            "kernelspecs": {name: spec.model(base_url) for name, spec in self._specs.items()},
        }

    def resource(self, name: str, file: str) -> Path:
        """Return the path of a logo, `kernel.js` or `kernel.css`; nothing else has a name here.

        Raises `UnknownKernelspec` for an unknown kernelspec or file.
        """
        kernelspec = self.get(name)
        try:
            return kernelspec.resources[file]
        except KeyError:
            raise UnknownKernelspec(f"The kernelspec {kernelspec.name} has no file {_shown(file)}.") from None


def _kernel_dirs(directory: Path) -> Iterable[Path]:
    try:
        entries = sorted(directory.iterdir())
    except OSError as error:
        raise ConfigError(f"{directory}: cannot read the kernelspecs: {error.strerror}") from error
    return [entry for entry in entries if (entry / "kernel.json").is_file()]


def _read(resource_dir: Path) -> Kernelspec:
    """Read one kernelspec directory; its name in lower case is the kernelspec's, as Jupyter has it."""
    file = resource_dir / "kernel.json"
    name = resource_dir.name.lower()
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{file}: a kernelspec's name has only letters, digits and . _ -, not {name!r}")
    try:
        spec = KernelSpec.from_resource_dir(str(resource_dir))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, TraitError) as error:
        raise ConfigError(f"{file}: not a kernelspec: {' '.join(str(error).split())}") from error
    for key in ("argv", "display_name", "language"):
        if not getattr(spec, key):
            raise ConfigError(f"{file}: {key} is missing")
    if not all(isinstance(word, str) for word in spec.argv):
        raise ConfigError(f"{file}: argv is not a list of strings")
    ours = spec.metadata.get("sandkasten")
    image = ours.get("image") if isinstance(ours, dict) else None
    if not isinstance(image, str) or not image:
        raise ConfigError(f'{file}: metadata.sandkasten does not name the image, as in {{"image": "python"}}')
    options = ours if isinstance(ours, dict) else {}
    warm_up, kernel = options.get("warm_up", ""), options.get("kernel", "process")
    if not isinstance(warm_up, str):
        raise ConfigError(f"{file}: metadata.sandkasten.warm_up is not a text of code")
    if kernel not in ("process", "guest"):
        raise ConfigError(f"{file}: metadata.sandkasten.kernel is {_shown(str(kernel))}, not process or guest")
    return Kernelspec(name, image, spec, resource_dir, _resources(resource_dir), warm_up, kernel == "guest")


def _resources(resource_dir: Path) -> dict[str, Path]:
    """Return the files for a browser that lie in the directory itself, links followed."""
    home = resource_dir.resolve()
    return {
        entry.name: entry.resolve()
        for entry in sorted(resource_dir.iterdir())
        if (entry.name.startswith("logo-") or entry.name in ("kernel.js", "kernel.css"))
        and entry.is_file()
        and entry.resolve().parent == home
    }


def _shown(name: str) -> str:
    return repr(name if len(name) <= 60 else name[:60] + "...")
