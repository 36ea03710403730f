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
    full_name,
    standing_order,
)
from ..images import image_record
from .base import present_base
from .custom import own_digest
from .images import standard_digest

__all__ = ["image_states"]


def image_states(
    client: docker.DockerClient,
    own: Mapping[str, CustomImage],
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
    for name in standing_order({*STANDARD, *own}, own):
        reference = full_name(name, repository)
        record = image_record(client, reference)
        if not record:
            states[name] = ImageState(name, reference, ImageStatus.MISSING)
            continue
        labels = record["Config"]["Labels"]
        below = own[name].stands_on if name in own else "base" if name != "base" else None
        if labels.get(PROTOCOL_LABEL) != str(PROTOCOL):
            standing = ImageStatus.FOREIGN
        elif below is not None and states[below].standing is not ImageStatus.CURRENT:
            standing = ImageStatus.OUTDATED
        else:
            expected = (
                own_digest(own[name], image_record(client, full_name(own[name].stands_on, repository))["Id"])
                if name in own
                else standard_digest(client, name, root, repository)
                if root
                else None
            )
            standing = ImageStatus.CURRENT if labels.get(DIGEST_LABEL) == expected else ImageStatus.OUTDATED
        states[name] = ImageState(name, reference, standing, record["Size"], record["Created"])
    return list(states.values())
