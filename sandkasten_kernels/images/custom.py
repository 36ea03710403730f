"""Custom images: the records that a checked setting `images` stands for."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from packaging.requirements import Requirement

__all__ = ["CustomImage", "build_order", "custom_images"]


@dataclass(frozen=True)
class CustomImage:
    """One image of the setting `images`.

    Attributes
    ----------
    parent_image: short name of the image it is built from (the key `from`).
    pip: requirements, each a name with extras and versions and nothing else.
    apt: names of packages.
    display_name: of its kernelspec; empty: made from the kernelspec of the image it stands on.
    """

    name: str
    parent_image: str
    pip: tuple[str, ...] = ()
    apt: tuple[str, ...] = ()
    display_name: str = ""


def custom_images(setting: Mapping[str, Any]) -> dict[str, CustomImage]:
    """Return the images of a checked setting, by name."""
    return {
        name: CustomImage(
            name,
            image["from"],
            tuple(str(Requirement(text)) for text in image.get("pip", ())),
            tuple(image.get("apt", ())),
            image.get("display_name", ""),
        )
        for name, image in setting.items()
    }


def build_order(names: Iterable[str], custom: Mapping[str, CustomImage]) -> list[str]:
    """Return `names` and every image below them, each after the image it is built from."""
    order: dict[str, None] = {}

    def add(name: str) -> None:
        if name in custom:
            add(custom[name].parent_image)
        elif name == "python":
            add("base")
        order[name] = None

    for name in sorted(names, key=lambda name: (name in custom, name)):
        add(name)
    return list(order)
