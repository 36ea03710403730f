"""What a Docker engine knows of one image."""

from __future__ import annotations

from typing import Any

import docker
import requests

from ...guest import PROTOCOL
from ...images import PROTOCOL_LABEL, ImageState, ImageStatus, full_name

__all__ = ["ENGINE_ERRORS", "foreign_state", "image_record"]

ENGINE_ERRORS = (docker.errors.DockerException, requests.RequestException)
"""The exceptions by which docker-py fails: those of the engine, and those of the connection to it."""


def image_record(client: docker.DockerClient, reference: str) -> dict[str, Any]:
    """Return the engine's record of an image; empty without such an image. ``Config.Labels`` is always a mapping."""
    try:
        record: dict[str, Any] = client.api.inspect_image(reference)
    except docker.errors.ImageNotFound:
        return {}
    record["Config"] = record.get("Config") or {}
    record["Config"]["Labels"] = record["Config"].get("Labels") or {}
    return record


def foreign_state(client: docker.DockerClient, image: str) -> ImageState:
    """Return the state of an image that is built elsewhere: missing, of another guest protocol, or current."""
    reference = full_name(image)
    record = image_record(client, reference)
    if not record:
        return ImageState(image, reference, ImageStatus.MISSING)
    foreign = record["Config"]["Labels"].get(PROTOCOL_LABEL) != str(PROTOCOL)
    return ImageState(image, reference, ImageStatus.FOREIGN if foreign else ImageStatus.CURRENT, record["Size"])
