"""The base image of all others: a present one, one from a registry, or one made from packages."""

from __future__ import annotations

import docker

from ....errors import ImageBuildError
from ....images import Report, base_archive, bootstrap_tag, shortened
from ..images import ENGINE_ERRORS, image_record

__all__ = ["DEFAULT_BASE", "present_base", "resolve_base"]

DEFAULT_BASE = "python:3.12-slim-bookworm"


def present_base(client: docker.DockerClient, base: str | None = None) -> str | None:
    """Return the name of the base image if the engine has it; None if a build would have to pull or make it."""
    candidates = [base] if base is not None else [DEFAULT_BASE, _own_tag()]
    return next((name for name in candidates if name and image_record(client, name)), None)


def resolve_base(client: docker.DockerClient, base: str | None, report: Report) -> str:
    """Return the name of a base image that the engine has: `base`, the official one, or one made from packages.

    A missing image is pulled. If the official one cannot be pulled, a base is made from packages. Raises
    `ImageBuildError`.
    """
    if present := present_base(client, base):
        return present
    reference = base or DEFAULT_BASE
    reason = _pull(client, reference, report)
    if not reason:
        return reference
    if base is not None:
        raise ImageBuildError(f"the base image {base} is not there and cannot be pulled: {reason}")
    report(f"{DEFAULT_BASE} cannot be pulled ({shortened(reason, 160)})")
    return _bootstrap(client, report)


def _bootstrap(client: docker.DockerClient, report: Report) -> str:
    """Make a base image of this host's release, and return its name. Raises `ImageBuildError`."""
    reference = bootstrap_tag()
    repository, _, tag = reference.partition(":")
    with base_archive(report) as archive:
        report(f"importing {archive.stat().st_size >> 20} MB into the engine")
        try:
            with archive.open("rb") as data:
                reply = client.api.import_image_from_data(data, repository=repository, tag=tag)
        except ENGINE_ERRORS as error:
            raise ImageBuildError(f"the engine did not import the base image: {error}") from error
    if "errorDetail" in reply:  # the engine reports a failure in a reply with status 200
        raise ImageBuildError(f"the engine did not import the base image: {reply}")
    return reference


def _own_tag() -> str | None:
    try:
        return bootstrap_tag()
    except ImageBuildError:
        return None


def _pull(client: docker.DockerClient, reference: str, report: Report) -> str:
    """Pull an image; return the reason of a failure, else an empty string."""
    report(f"pulling {reference}")
    repository, tag = docker.utils.parse_repository_tag(reference)
    try:
        for event in client.api.pull(repository, tag=tag or "latest", stream=True, decode=True):
            if "error" in event:  # as a part of a reply with status 200
                return str(event["error"])
            if event.get("status") in {"Pull complete", "Already exists"}:
                report(f"  layer {event.get('id', '')} {event['status'].lower()}")
    except docker.errors.APIError as error:
        return str(error.explanation or error)
    return ""
