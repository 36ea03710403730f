"""The names of the sandbox images, and of their labels."""

from __future__ import annotations

from ..config import STANDARD

__all__ = ["DIGEST_LABEL", "PROTOCOL_LABEL", "REPOSITORY", "STANDARD", "build_command", "full_name"]

REPOSITORY = "sandbox-runtime"
PROTOCOL_LABEL = "sandkasten.protocol"
DIGEST_LABEL = "sandkasten.digest"


def full_name(image: str, repository: str = REPOSITORY) -> str:
    """Return the reference of an image: a short name is a tag of `repository`, every other name stays as it is."""
    return image if ":" in image or "/" in image else f"{repository}:{image}"


def build_command(reference: str, option: str = "--config=FILE") -> str:
    """Return the command that builds the image `reference`; `option` names the configuration, for a custom image."""
    name = reference.removeprefix(f"{REPOSITORY}:")
    return "sandkasten-kernels images build" + ("" if name in STANDARD else f" {name} {option}")
