"""Kernelspecs for custom images."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping
from dataclasses import replace

from jupyter_client.kernelspec import KernelSpec

from ..config import KeyPath, MakeError
from ..errors import ConfigError
from ..images import CustomImage, build_order
from .kernelspec import Kernelspec, Kernelspecs

__all__ = ["custom_kernelspecs"]

_SUFFIX = re.compile(r"\s*\([^()]*\)$")


def _error(path: KeyPath, problem: str) -> ConfigError:
    return ConfigError(f"{'.'.join(path)}: {problem}")


def custom_kernelspecs(
    custom: Mapping[str, CustomImage], found: Kernelspecs, make_error: MakeError = _error
) -> list[Kernelspec]:
    """Return a kernelspec for each custom image without one among `found`.

    It has the name of the image, and is otherwise a copy of the first kernelspec of the parent image. Raises
    `ConfigError` if another image's kernelspec has that name, or the parent has no kernelspec.
    """
    made: dict[str, Kernelspec] = {}
    taken = {spec.name: spec.image for spec in found}
    # parents first: a child copies the kernelspec of its parent
    for name in build_order(custom, custom):
        if name not in custom or found.for_image(name):
            continue
        if name in taken:
            problem = f"a kernelspec of this name runs in the image {taken[name]}; choose another name"
            raise make_error(("images", name), problem)
        image = custom[name]
        origin = made.get(image.parent_image) or found.for_image(image.parent_image)
        if origin is None:
            problem = f"no kernelspec runs in the image {image.parent_image}"
            raise make_error(("images", name, "from"), problem)
        made[name] = _copied(origin, image)
    return list(made.values())


def _copied(origin: Kernelspec, image: CustomImage) -> Kernelspec:
    # to_dict() contains the metadata of the parent itself, not a copy
    model = copy.deepcopy(origin.spec.to_dict())
    model["display_name"] = image.display_name or f"{_SUFFIX.sub('', model['display_name'])} ({image.name})"
    model["metadata"]["sandkasten"]["image"] = image.name
    spec = KernelSpec(**model, resource_dir=str(origin.resource_dir))
    return replace(origin, name=image.name, image=image.name, spec=spec)
