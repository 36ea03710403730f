"""Compares the images of the engine with those that a build would make now."""

from __future__ import annotations

from collections.abc import Mapping

import docker

from ....guest import PROTOCOL
from ....images import (
    DIGEST_LABEL,
    PROTOCOL_LABEL,
    REPOSITORY,
    STANDARD,
    CustomImage,
    ImageState,
    ImageStatus,
    build_order,
    full_name,
)
from ..images import image_record
from .base import present_base
from .custom import custom_digest
from .images import standard_digest

__all__ = ["image_states"]


def image_states(
    client: docker.DockerClient,
    custom: Mapping[str, CustomImage],
    *,
    base: str | None = None,
    repository: str = REPOSITORY,
) -> list[ImageState]:
    """Return the state of every image that the configuration knows, each after what it stands on; builds nothing.

    `base` is what the images were to be built from, as in `build_images`. What stands on an image that is not up
    to date is not so either.
    """
    states: dict[str, ImageState] = {}
    root = present_base(client, base)
    for name in build_order({*STANDARD, *custom}, custom):
        reference = full_name(name, repository)
        record = image_record(client, reference)
        if not record:
            states[name] = ImageState(name, reference, ImageStatus.MISSING)
            continue
        labels = record["Config"]["Labels"]
        below = custom[name].parent_image if name in custom else "base" if name != "base" else None
        if labels.get(PROTOCOL_LABEL) != str(PROTOCOL):
            standing = ImageStatus.FOREIGN
        elif below is not None and states[below].status is not ImageStatus.CURRENT:
            standing = ImageStatus.OUTDATED
        else:
            expected = (
                custom_digest(
                    custom[name], image_record(client, full_name(custom[name].parent_image, repository))["Id"]
                )
                if name in custom
                else standard_digest(client, name, root, repository)
                if root
                else None
            )
            standing = ImageStatus.CURRENT if labels.get(DIGEST_LABEL) == expected else ImageStatus.OUTDATED
        states[name] = ImageState(name, reference, standing, record["Size"], record["Created"])
    return list(states.values())
