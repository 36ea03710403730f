"""How an image of one's own is built: packages are installed in a container, whose changes become one layer.

A Dockerfile would keep what the build was told of the host's network in a layer or in the history, and twice as many
bytes; a container keeps neither, because what it removes before it ends was never in the image.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import shlex
import tarfile
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import docker

from .apt_config import AptConfig, host_apt_config
from .bootstrap import ImageBuildError
from .build_progress import BuildProgress, Report
from .image import DIGEST_LABEL, PROTOCOL_LABEL, REPOSITORY, full_name, image_record
from .own_images import OwnImage
from .paths import asset_dir
from .pip_config import PipConfig
from .proxies import proxy_variables

__all__ = ["build_own", "own_digest"]

VENV_BIN = "/opt/venv/bin"


def own_digest(image: OwnImage, origin: str) -> str:
    """Return the digest that `image` has when it is up to date and stands on the image with the id `origin`."""
    parts = (origin, sorted(image.pip), sorted(image.apt), _script())
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def build_own(
    client: docker.DockerClient, image: OwnImage, pip: PipConfig, report: Report, repository: str = REPOSITORY
) -> None:
    """Build `image` unless it is up to date; what it stands on is there. Raises `ImageBuildError`.

    The name is given in the same step in which the image comes to be, when all is installed and checked.
    """
    tag = full_name(image.name, repository)
    below = full_name(image.stands_on, repository)
    origin = image_record(client, below)
    if not origin:
        raise ImageBuildError(f"{tag} stands on {below}, which is not there: build it first")
    digest = own_digest(image, origin["Id"])
    old = image_record(client, tag)
    if old and old["Config"]["Labels"].get(DIGEST_LABEL) == digest:
        report(f"{tag} is up to date")
        return
    report(f"building {tag} from {below}")
    apt = host_apt_config(pip.ca_bundle) if image.apt else AptConfig()
    _tell_left_out(image, pip, apt, report)
    progress = BuildProgress(image.name, tag, report)
    with _container(client, image, origin["Id"]) as container:
        client.api.put_archive(container, "/", _archive(_files(image, pip, apt)))
        output = client.api.attach(container, stream=True, logs=True)
        client.api.start(container)
        for line in _lines(output):
            progress.line(line)
        code = client.api.wait(container)["StatusCode"]
        if code:
            raise progress.failure(f"exit code {code}")
        client.api.commit(container, repository, image.name, conf=_image_config(image, origin, digest))
    built = image_record(client, tag)
    report(f"{tag} is built: {progress.seconds:.1f} s, {built['Size'] / 1e6:.0f} MB")


def _tell_left_out(image: OwnImage, pip: PipConfig, apt: AptConfig, report: Report) -> None:
    for option in pip.left_out if image.pip else ():
        report(f"  {image.name}: pip does without `{option}`, which is this machine's own")
    for source in apt.left_out:
        report(f"  {image.name}: apt does without `{source}`, which is this machine's own")


@contextlib.contextmanager
def _container(client: docker.DockerClient, image: OwnImage, origin: str) -> Iterator[str]:
    """Yield a container in which to install as root; it is gone at the end, whatever happened."""
    config = {
        "Image": origin,
        "User": "0:0",
        "WorkingDir": "/",
        "Entrypoint": ["/bin/bash", "/build/install"],
        "Cmd": [],
        "HostConfig": {"NetworkMode": "host", "LogConfig": {"Type": "json-file", "Config": {"max-size": "16m"}}},
    }
    container = _create(client, f"sandkasten-build-{image.name}", config)
    try:
        yield container
    finally:
        client.api.remove_container(container, force=True, v=True)


def _create(client: docker.DockerClient, name: str, config: Mapping[str, Any]) -> str:
    """Return a new container called `name`, in the place of one that a build which was killed has left."""
    try:
        return str(client.api.create_container_from_config(config, name=name)["Id"])
    except docker.errors.APIError as error:
        if error.status_code != 409:
            raise
    if client.api.inspect_container(name)["State"]["Running"]:
        raise ImageBuildError(
            f"this image is being built already: wait until its container {name} is gone, or end it (docker rm -f)"
        )
    client.api.remove_container(name, force=True, v=True)
    return str(client.api.create_container_from_config(config, name=name)["Id"])


def _image_config(image: OwnImage, origin: Mapping[str, Any], digest: str) -> dict[str, Any]:
    """Return what a sandbox starts with: as in the image below, whatever the container of the build had."""
    below = origin["Config"]
    path = next((entry[5:] for entry in below.get("Env") or [] if entry.startswith("PATH=")), os.defpath)
    if image.pip and VENV_BIN not in path.split(":"):
        path = f"{VENV_BIN}:{path}"
    return {
        "User": below["User"],
        "Entrypoint": below["Entrypoint"],
        "Cmd": [],
        "WorkingDir": below["WorkingDir"],
        "Env": [f"PATH={path}"],
        "Labels": {DIGEST_LABEL: digest, PROTOCOL_LABEL: below["Labels"].get(PROTOCOL_LABEL, "")},
    }


def _script() -> bytes:
    return (asset_dir("images") / "own" / "install").read_bytes()


def _files(image: OwnImage, pip: PipConfig, apt: AptConfig) -> dict[str, bytes]:
    """Return the files of `/build`, by their paths there."""
    exports = (f"export {name}={shlex.quote(value)}\n" for name, value in proxy_variables(os.environ).items())
    files = {
        "install": _script(),
        "environment": "".join(exports).encode(),
        "requirements.txt": "".join(f"{requirement}\n" for requirement in image.pip).encode(),
        "apt/packages": "".join(f"{package}\n" for package in image.apt).encode(),
    }
    files.update((f"pip/{path}", data) for path, data in pip.files().items())
    files.update((f"apt/{path}", data) for path, data in apt.files().items())
    return files


def _archive(files: Mapping[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for path, data in sorted(files.items()):
            entry = tarfile.TarInfo(f"build/{path}")
            entry.size, entry.mode = len(data), 0o644
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _lines(chunks: Iterable[bytes]) -> Iterator[str]:
    """Yield the lines of a container's output, which arrives in pieces of any size."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")
