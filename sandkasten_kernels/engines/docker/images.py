"""What a Docker engine knows of one image."""

from __future__ import annotations

from typing import Any

import docker
import requests

__all__ = ["ENGINE_ERRORS", "image_record"]

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
