"""Builds a custom image: packages are installed in a container, and its changes become one layer.

The result is tested as in a sandbox, without a network and not as root, before the image gets its name.

A Dockerfile would store the host's network configuration (proxies, certificates) in a layer or in the history, and need
twice the disk space. A container stores neither: a file that it removes before it ends never reaches the image.
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

from ....errors import ImageBuildError
from ....images import (
    DIGEST_LABEL,
    PROTOCOL_LABEL,
    REPOSITORY,
    AptConfig,
    BuildProgress,
    CustomImage,
    PipConfig,
    Report,
    full_name,
    host_apt_config,
    proxy_variables,
)
from ....paths import asset_dir
from ..images import image_record
from ..spec import SANDBOX_UID

__all__ = ["build_custom", "custom_digest"]

VENV_BIN = "/opt/venv/bin"
LOG = {"Type": "json-file", "Config": {"max-size": "16m"}}
CHECK = """
set -e
echo 'Step 4/4 : check the guest and the kernel'
/opt/sandkasten/bin/python -I -B -c 'import sandkasten_guest, zmq'
for kernel in /opt/venv/lib/python*/site-packages/sandkasten_ipykernel.py; do
    [ ! -e "$kernel" ] || /opt/venv/bin/python -I -B -c 'import ipykernel.kernelapp, sandkasten_ipykernel'
done
"""


def custom_digest(image: CustomImage, origin: str) -> str:
    """Return the digest that `image` has when it is up to date and has the parent image with the id `origin`."""
    parts = (origin, sorted(image.pip), sorted(image.apt), _script())
    return hashlib.sha256(repr(parts).encode()).hexdigest()


def build_custom(
    client: docker.DockerClient, image: CustomImage, pip: PipConfig, report: Report, repository: str = REPOSITORY
) -> None:
    """Build `image` unless it is up to date. Raises `ImageBuildError`, also when its parent is missing.

    The image gets its name only after every package is installed and the result is tested.
    """
    tag = full_name(image.name, repository)
    below = full_name(image.parent_image, repository)
    origin = image_record(client, below)
    if not origin:
        raise ImageBuildError(f"{tag} stands on {below}, which is not there: build it first")
    digest = custom_digest(image, origin["Id"])
    old = image_record(client, tag)
    if old and old["Config"]["Labels"].get(DIGEST_LABEL) == digest:
        report(f"{tag} is up to date")
        return
    report(f"building {tag} from {below}")
    apt = host_apt_config(pip.ca_bundle) if image.apt else AptConfig()
    _tell_left_out(image, pip, apt, report)
    progress = BuildProgress(image.name, tag, report)
    with _container(client, image, _install_config(origin["Id"])) as container:
        client.api.put_archive(container, "/", _archive(_files(image, pip, apt)))
        _run(client, container, progress)
        made = client.api.commit(container, conf=_image_config(image, origin, digest))["Id"]
    try:
        with _container(client, image, _check_config(made)) as container:
            _run(client, container, progress)
        client.api.tag(made, repository, image.name)
    except BaseException:
        client.api.remove_image(made)  # Ctrl-C too leaves no untested image
        raise
    built = image_record(client, tag)
    report(f"{tag} is built: {progress.seconds:.1f} s, {built['Size'] / 1e6:.0f} MB")


def _tell_left_out(image: CustomImage, pip: PipConfig, apt: AptConfig, report: Report) -> None:
    for option in pip.left_out if image.pip else ():
        report(f"  {image.name}: pip does without `{option}`, which is this machine's own")
    for source in apt.left_out:
        report(f"  {image.name}: apt does without `{source}`, which is this machine's own")


def _install_config(origin: str) -> dict[str, Any]:
    """Return the configuration of the container that installs packages, as root and with the host's network."""
    return {
        "Image": origin,
        "User": "0:0",
        "WorkingDir": "/",
        "Entrypoint": ["/bin/bash", "/build/install"],
        "Cmd": [],
        # The host's network, so that an index, a mirror or a proxy on loopback works.
        "HostConfig": {"NetworkMode": "host", "SecurityOpt": ["no-new-privileges"], "LogConfig": LOG},
    }


def _check_config(made: str) -> dict[str, Any]:
    """Return the configuration of the container that tests the image `made`: installed code runs here first."""
    return {
        "Image": made,
        "User": f"{SANDBOX_UID}:{SANDBOX_UID}",
        "WorkingDir": "/tmp",
        "Entrypoint": ["/bin/bash", "-c", CHECK],
        "Cmd": [],
        "Env": ["HOME=/tmp"],
        "HostConfig": {
            "NetworkMode": "none",
            "CapDrop": ["ALL"],
            "SecurityOpt": ["no-new-privileges"],
            "ReadonlyRootfs": True,
            "Tmpfs": {"/tmp": "mode=1777"},
            "PidsLimit": 256,
            "LogConfig": LOG,
        },
    }


def _run(client: docker.DockerClient, container: str, progress: BuildProgress) -> None:
    """Run the container to its end. Raises `ImageBuildError` for a nonzero exit code."""
    # Before the start, so that no line is missed.
    output = client.api.attach(container, stream=True, logs=True)
    client.api.start(container)
    for line in _lines(output):
        progress.line(line)
    if code := client.api.wait(container)["StatusCode"]:
        raise progress.failure(f"exit code {code}")


@contextlib.contextmanager
def _container(client: docker.DockerClient, image: CustomImage, config: Mapping[str, Any]) -> Iterator[str]:
    """Yield a container for the build of `image`; remove it at the end of the context."""
    container = _create(client, f"sandkasten-build-{image.name}", config)
    try:
        yield container
    finally:
        client.api.remove_container(container, force=True, v=True)


def _create(client: docker.DockerClient, name: str, config: Mapping[str, Any]) -> str:
    """Return a new container called `name`; a leftover of a killed build is replaced. Raises `ImageBuildError`."""
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


def _image_config(image: CustomImage, origin: Mapping[str, Any], digest: str) -> dict[str, Any]:
    """Return the image's configuration: that of its parent, without anything of the build container."""
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
    return (asset_dir("images") / "custom" / "install").read_bytes()


def _files(image: CustomImage, pip: PipConfig, apt: AptConfig) -> dict[str, bytes]:
    """Return the files for `/build` by relative path."""
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
    """Yield the lines of a container's output, which arrives in chunks of any size."""
    rest = b""
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            yield line.decode("utf-8", "replace")
    if rest:
        yield rest.decode("utf-8", "replace")
