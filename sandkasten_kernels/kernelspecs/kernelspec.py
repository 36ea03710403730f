"""The catalogue of kernelspecs, which the gateway reads once at start."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from jupyter_client.kernelspec import KernelSpec
from traitlets import TraitError

from ..config import nearest
from ..errors import ConfigError, UnknownKernelspec
from ..paths import asset_dir
from .metadata import DEFAULT_CULLING, DEFAULT_LIMITS, Culling, SandboxLimits, read_metadata
from .metadata import NAME as METADATA

__all__ = ["Kernelspec", "Kernelspecs"]

ALIASES = {"python": "python3"}
_NAME = re.compile(r"[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Kernelspec:
    """One kernelspec and the image that it runs in.

    `resources` are the files that are served, by name; `in_guest`: the kernel is the sandbox's own guest, whose
    language is bash, and not a process of its own. `warm_up` is code that a kernel runs silently before it is warm,
    `after_claim` when it has its owner's environment, ahead of the owner's first request. `pool`: whether it may be
    kept warm. `limits` and `network_mode` are None as far as the sandbox gets what `defaults` says, `culling` as far as
    its sessions end as the settings say. `auto_restart`: whether a process that ends by itself is started again;
    `heartbeat_seconds` and `interrupt_seconds` are those of `Heartbeat` and `Interrupts`.
    """

    name: str
    image: str
    spec: KernelSpec
    resource_dir: Path
    resources: Mapping[str, Path]
    warm_up: str = ""
    in_guest: bool = False
    limits: SandboxLimits = DEFAULT_LIMITS
    network_mode: str | None = None
    pool: bool = True
    after_claim: str = ""
    culling: Culling = DEFAULT_CULLING
    auto_restart: bool = True
    heartbeat_seconds: int = 10
    interrupt_seconds: int = 10

    def model(self) -> dict[str, Any]:
        """Return the kernelspec in the form of jupyter_server; `resources` has the URL path of each file."""
        prefix = f"/kernelspecs/{self.name}"
        urls = {
            Path(file).stem if file.startswith("logo-") else file: f"{prefix}/{quote(file)}" for file in self.resources
        }
        return {"name": self.name, "spec": self.spec.to_dict(), "resources": urls}


class Kernelspecs:
    """The kernelspecs found in `directories`, and `extra` ones, of allowed images only.

    `directories`: each holds one directory per kernelspec, the first that has a name wins; None means ours. One
    without `metadata.sandkasten` is a kernel of the host's own and passed over; `foreign` has its file.
    `allowed_images`: empty allows every image that a kernelspec names. Iterating gives the kernelspecs in the order of
    their names. Raises `ConfigError` for a malformed one.
    """

    def __init__(
        self,
        directories: Sequence[Path] | None = None,
        *,
        extra: Iterable[Kernelspec] = (),
        allowed_images: Collection[str] = (),
        default_image: str = "python",
    ) -> None:
        if directories is None:
            directories = [asset_dir("kernelspecs")]
        found: dict[str, Kernelspec] = {}
        self.foreign: list[Path] = []
        for directory in directories:
            for resource_dir in _kernel_dirs(directory):
                if resource_dir.name.lower() not in found:
                    kernelspec = _read(resource_dir)
                    if kernelspec is None:
                        self.foreign.append(resource_dir / "kernel.json")
                    else:
                        found[kernelspec.name] = kernelspec
        for kernelspec in extra:
            found.setdefault(kernelspec.name, kernelspec)
        self.known_images = sorted({spec.image for spec in found.values()})
        self._specs = {
            name: spec for name, spec in sorted(found.items()) if not allowed_images or spec.image in allowed_images
        }
        self._default_image = default_image

    def __repr__(self) -> str:
        return f"<Kernelspecs {', '.join(self._specs)}>"

    @property
    def default(self) -> Kernelspec:
        """The kernelspec of the default image. Raises `UnknownKernelspec`; `check_settings` makes sure of one."""
        if (default := self.for_image(self._default_image)) is None:
            raise UnknownKernelspec(f"No kernelspec runs in the image {_shown(self._default_image)}.")
        return default

    def __iter__(self) -> Iterator[Kernelspec]:
        return iter(self._specs.values())

    def images(self) -> list[str]:
        """Return the images that have a kernelspec, sorted, each once."""
        return sorted({spec.image for spec in self._specs.values()})

    def get(self, name: str | None = None) -> Kernelspec:
        """Return the kernelspec `name`; None and "" mean the default one, `python` means `python3`.

        Raises `UnknownKernelspec`; its message has the known names.
        """
        if not name:
            return self.default
        # a kernelspec that really has the name goes before the alias
        for candidate in (name, ALIASES.get(name, name)):
            if candidate in self._specs:
                return self._specs[candidate]
        raise UnknownKernelspec(f"No kernelspec named {_shown(name)}. Known: {', '.join(self._specs)}.")

    def for_image(self, image: str) -> Kernelspec | None:
        """Return the kernelspec for `image`, None without one.

        It is the first by name of those that the pool may keep warm, else the first by name.
        """
        running = [spec for spec in self._specs.values() if spec.image == image]
        return next((spec for spec in running if spec.pool), running[0] if running else None)

    def models(self) -> dict[str, Any]:
        """Return the body of `GET /api/kernelspecs`."""
        return {
            "default": self.default.name,
            "kernelspecs": {name: spec.model() for name, spec in self._specs.items()},
        }

    def resource(self, name: str, file: str) -> Path:
        """Return the path of a logo, of `kernel.js` or of `kernel.css`; no other file is served.

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


def _read(resource_dir: Path) -> Kernelspec | None:
    """Read one kernelspec directory; None if its metadata has no `sandkasten`.

    The name of the kernelspec is that of the directory in lower case, as in Jupyter.
    """
    file = resource_dir / "kernel.json"
    name = resource_dir.name.lower()
    if not _NAME.fullmatch(name):
        raise ConfigError(f"{file}: a kernelspec's name has only letters, digits and . _ -, not {name!r}")
    try:
        spec = KernelSpec.from_resource_dir(str(resource_dir))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except (ValueError, TypeError, TraitError) as error:
        # KernelSpec takes the JSON unchecked: each kind of fault raises another exception
        raise ConfigError(f"{file}: not a kernelspec: {' '.join(str(error).split())}") from error
    for key in ("argv", "display_name", "language"):
        if not getattr(spec, key):
            raise ConfigError(f"{file}: {key} is missing")
    if not all(isinstance(word, str) for word in spec.argv):
        raise ConfigError(f"{file}: argv is not a list of strings")
    if METADATA not in spec.metadata:
        if (wrong := nearest(METADATA, spec.metadata)) is not None:
            raise ConfigError(f"{file}: metadata.{wrong}: did you mean metadata.{METADATA}?")
        return None
    return Kernelspec(
        name=name,
        spec=spec,
        resource_dir=resource_dir,
        resources=_resources(resource_dir),
        **read_metadata(file, spec.metadata[METADATA]),
    )


def _resources(resource_dir: Path) -> dict[str, Path]:
    """Return the files for browsers in the directory itself, by name; a link must stay in the directory."""
    home = resource_dir.resolve()
    return {
        entry.name: entry.resolve()
        for entry in sorted(resource_dir.iterdir())
        if (entry.name.startswith("logo-") or entry.name in ("kernel.js", "kernel.css"))
        and entry.is_file()
        # without this a link would serve any file of the host
        and entry.resolve().parent == home
    }


def _shown(name: str) -> str:
    return repr(name if len(name) <= 60 else name[:60] + "...")
