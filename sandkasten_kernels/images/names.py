"""The sandbox images: what they are called, and what the engine knows of one."""

from __future__ import annotations

from typing import Any

import docker
import requests

__all__ = [
    "DIGEST_LABEL",
    "ENGINE_ERRORS",
    "PROTOCOL_LABEL",
    "REPOSITORY",
    "STANDARD",
    "build_command",
    "full_name",
    "image_record",
]

REPOSITORY = "sandbox-runtime"
STANDARD = ("base", "python")
"""The images that there always are, each after what it stands on."""
PROTOCOL_LABEL = "sandkasten.protocol"
DIGEST_LABEL = "sandkasten.digest"
ENGINE_ERRORS = (docker.errors.DockerException, requests.RequestException)


def full_name(image: str, repository: str = REPOSITORY) -> str:
    """Return an image's reference: a short name is a tag of `sandbox-runtime`, all else stays as it is."""
    return image if ":" in image or "/" in image else f"{repository}:{image}"


def build_command(reference: str, option: str = "--config=FILE") -> str:
    """Return the command that builds the image `reference`; `option` names the configuration that one's own are in."""
    name = reference.removeprefix(f"{REPOSITORY}:")
    return "sandkasten-kernels images build" + ("" if name in STANDARD else f" {name} {option}")


def image_record(client: docker.DockerClient, reference: str) -> dict[str, Any]:
    """Return the engine's record of an image, empty when there is none. Its labels are always a mapping."""
    try:
        record: dict[str, Any] = client.api.inspect_image(reference)
    except docker.errors.ImageNotFound:
        return {}
    record["Config"] = record.get("Config") or {}
    record["Config"]["Labels"] = record["Config"].get("Labels") or {}
    return record
