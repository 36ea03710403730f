"""Builds the sandbox images.

A build context is assembled in memory from the files of this package, so that it is the same every time. An image
carries a digest of its sources, and an image that is up to date is not built again.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from types import MappingProxyType

import docker

from .... import guest
from ....errors import ImageBuildError
from ....guest import PROTOCOL
from ....images import (
    DIGEST_LABEL,
    REPOSITORY,
    STANDARD,
    BuildProgress,
    CustomImage,
    PipConfig,
    Report,
    build_order,
    full_name,
    host_pip_config,
    proxy_variables,
)
from ....paths import asset_dir
from ..images import ENGINE_ERRORS, image_record
from .base import resolve_base
from .custom import build_custom

__all__ = ["build_images", "context_archive", "context_files", "standard_digest"]

NO_IMAGES: Mapping[str, CustomImage] = MappingProxyType({})


def build_images(
    client: docker.DockerClient,
    names: Iterable[str],
    *,
    base: str | None,
    report: Report,
    custom: Mapping[str, CustomImage] = NO_IMAGES,
    repository: str = REPOSITORY,
) -> None:
    """Build the images `names` and their parents; `report` is called with lines of progress.

    The names are "base", "python" and those of `custom`. `base` is the image to start from. With None it is the
    official one; where no registry can be reached, one made from the distribution's packages. The images are
    tags of `repository`, and nothing is tagged before it is whole. Raises `ImageBuildError`.
    """
    wanted = set(names)
    if unknown := wanted.difference(STANDARD, custom):
        known = ", ".join((*STANDARD, *custom))
        hint = "" if custom else " (images of your own are in the configuration: name it with --config)"
        raise ImageBuildError(f"no image is called {', '.join(sorted(unknown))}: there are {known}{hint}")
    order = build_order(wanted, custom)
    if not order:
        return
    try:
        root = resolve_base(client, base, report)
        pip = host_pip_config()
        for name in order:
            if name in custom:
                build_custom(client, custom[name], pip, report, repository)
            else:
                _build(client, name, root, pip, report, repository)
        if repository == REPOSITORY:
            _remove_replaced(client)
    except ENGINE_ERRORS as error:
        raise ImageBuildError(f"the engine failed while images were built: {error}") from error


def standard_digest(client: docker.DockerClient, name: str, root: str, repository: str = REPOSITORY) -> str:
    """Return the digest that the image "base" or "python" has if it is up to date."""
    return _digest(context_files(name, PipConfig()), _arguments(client, name, root, repository))


def context_files(name: str, pip: PipConfig) -> dict[str, bytes]:
    """Return the files of the build context of the image `name`, by path."""
    files = {f"pip/{path}": data for path, data in pip.files().items()}
    sources = [(asset_dir("images") / name, "")]
    if name == "base":
        sources.append((Path(guest.__path__[0]), "sandkasten_guest/"))
    for directory, prefix in sources:
        for path in directory.rglob("*"):
            if path.is_file() and "__pycache__" not in path.parts:
                files[prefix + path.relative_to(directory).as_posix()] = path.read_bytes()
    return files


def context_archive(files: Mapping[str, bytes]) -> bytes:
    """Return `files` as a tar archive that depends on their names and contents alone."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path, data in sorted(files.items()):
            entry = tarfile.TarInfo(path)  # its time stays 0: the same files give the same archive
            entry.size = len(data)
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _digest(files: Mapping[str, bytes], arguments: Mapping[str, str]) -> str:
    """Return the digest of the sources of an image; the configuration of pip is not part of it."""
    digest = hashlib.sha256(repr(sorted(arguments.items())).encode())
    custom = {path: data for path, data in files.items() if not path.startswith("pip/")}
    digest.update(context_archive(custom))
    return digest.hexdigest()


def _arguments(client: docker.DockerClient, name: str, root: str, repository: str) -> dict[str, str]:
    """Return the arguments of a build: images by id, so that a tag that moves during the build has no effect."""
    arguments = {"BASE": image_record(client, root)["Id"]}
    if name == "base":
        arguments["PROTOCOL"] = str(PROTOCOL)
    else:
        arguments["RUNTIME"] = image_record(client, full_name("base", repository)).get("Id", "")
    return arguments


def _build(client: docker.DockerClient, name: str, root: str, pip: PipConfig, report: Report, repository: str) -> None:
    """Build one image unless it is up to date."""
    tag = full_name(name, repository)
    files = context_files(name, pip)
    arguments = _arguments(client, name, root, repository)
    digest = _digest(files, arguments)
    old = image_record(client, tag)
    if old and old["Config"]["Labels"].get(DIGEST_LABEL) == digest:
        report(f"{tag} is up to date")
        return
    report(f"building {tag} from {root}")
    for option in pip.left_out:
        report(f"  {name}: pip does without `{option}`, which is this machine's own")
    progress = BuildProgress(name, tag, report)
    events = client.api.build(
        fileobj=io.BytesIO(context_archive(files)),
        custom_context=True,
        tag=tag,
        buildargs=arguments | proxy_variables(os.environ),
        labels={DIGEST_LABEL: digest},
        network_mode="host",  # an index, a mirror or a proxy may be on loopback
        rm=True,
        forcerm=True,
        decode=True,
    )
    for event in events:
        progress.feed(event)
    built = image_record(client, tag)
    report(f"{tag} is built: {progress.seconds:.1f} s, {built['Size'] / 1e6:.0f} MB")


def _remove_replaced(client: docker.DockerClient) -> None:
    """Remove every image of ours that a newer one has replaced, unless a container still uses it."""
    filters = {"dangling": True, "label": [DIGEST_LABEL]}
    for identifier in client.api.images(quiet=True, filters=filters):
        try:
            client.api.remove_image(identifier)
        except docker.errors.APIError as error:
            if error.status_code not in {404, 409}:  # removed by another; in use
                raise
