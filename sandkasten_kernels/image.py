"""The sandbox images: their names, and how they are built.

A build context is put together in memory from the package's own files, so that it is the same every time; an
image carries a digest of what it was made from, and one that is up to date is left alone.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
import tarfile
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import docker
import requests

from .bootstrap import ImageBuildError, bootstrap_base, bootstrap_tag
from .guest import PROTOCOL
from .paths import asset_dir
from .pip_config import PipConfig, host_pip_config

__all__ = ["DEFAULT_BASE", "PROTOCOL_LABEL", "ImageBuildError", "build_images", "full_name"]

DEFAULT_BASE = "python:3.12-slim-bookworm"
REPOSITORY = "sandbox-runtime"
PROTOCOL_LABEL = "sandkasten.protocol"
DIGEST_LABEL = "sandkasten.digest"

_ORDER = ("base", "python")
_PROXY_VARIABLES = ("http_proxy", "https_proxy", "ftp_proxy", "no_proxy")
_ENGINE_ERRORS = (docker.errors.DockerException, requests.RequestException)
_STEP = re.compile(r"Step (\d+/\d+) : (.*)")
_COLOUR = re.compile(r"\x1b\[[0-9;]*m")

Report = Callable[[str], None]


def full_name(image: str) -> str:
    """Return an image's reference: a short name is a tag of `sandbox-runtime`, all else stays as it is."""
    return image if ":" in image or "/" in image else f"{REPOSITORY}:{image}"


def build_images(client: docker.DockerClient, names: Iterable[str], *, base: str | None, report: Report) -> None:
    """Build the images `names` ("base", "python") and what they stand on; `report` gets lines of progress.

    `base` is the image to start from. With None it is the official one; where no registry can be reached,
    one made from the distribution's packages. Nothing is tagged before it is whole. Raises `ImageBuildError`.
    """
    wanted = set(names)
    if unknown := wanted.difference(_ORDER):
        names_known = ", ".join(_ORDER)
        raise ImageBuildError(f"no image is called {', '.join(sorted(unknown))}: there are {names_known}")
    if "python" in wanted:
        wanted.add("base")
    if not wanted:
        return
    try:
        root = _resolve_base(client, base, report)
        pip = host_pip_config()
        for name in _ORDER:
            if name in wanted:
                _build(client, name, root, pip, report)
        _remove_replaced(client)
    except _ENGINE_ERRORS as error:
        raise ImageBuildError(f"the engine failed while images were built: {error}") from error


def context_files(name: str, pip: PipConfig) -> dict[str, bytes]:
    """Return the build context of the image `name`, path by path."""
    files = {f"pip/{path}": data for path, data in pip.files().items()}
    sources = [(asset_dir("images") / name, "")]
    if name == "base":
        sources.append((Path(__file__).parent / "guest", "sandkasten_guest/"))
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
            entry = tarfile.TarInfo(path)
            entry.size = len(data)
            entry.mode = 0o644
            archive.addfile(entry, io.BytesIO(data))
    return buffer.getvalue()


def _digest(files: Mapping[str, bytes], arguments: Mapping[str, str]) -> str:
    """Return what an image is made from as one number. How pip reached its index does not count."""
    digest = hashlib.sha256(repr(sorted(arguments.items())).encode())
    own = {path: data for path, data in files.items() if not path.startswith("pip/")}
    digest.update(context_archive(own))
    return digest.hexdigest()


def _build(client: docker.DockerClient, name: str, root: str, pip: PipConfig, report: Report) -> None:
    """Build one image unless it is up to date."""
    tag = full_name(name)
    files = context_files(name, pip)
    # By id, so that a tag that moves in the meantime changes nothing.
    arguments = {"BASE": _image(client, root)["Id"]}
    if name == "base":
        arguments["PROTOCOL"] = str(PROTOCOL)
    else:
        arguments["RUNTIME"] = _image(client, full_name("base"))["Id"]
    digest = _digest(files, arguments)
    old = _image(client, tag)
    if old.get("Config", {}).get("Labels", {}).get(DIGEST_LABEL) == digest:
        report(f"{tag} is up to date")
        return
    report(f"building {tag} from {root}")
    for option in pip.left_out:
        report(f"  {name}: pip does without `{option}`, which is this machine's own")
    started = time.monotonic()
    progress = _Progress(name, report)
    events = client.api.build(
        fileobj=io.BytesIO(context_archive(files)),
        custom_context=True,
        tag=tag,
        buildargs=arguments | _proxies(os.environ),
        labels={DIGEST_LABEL: digest},
        network_mode="host",
        rm=True,
        forcerm=True,
        decode=True,
    )
    for event in events:
        progress.feed(event)
    built = _image(client, tag)
    seconds = time.monotonic() - started
    report(f"{tag} is built: {seconds:.1f} s, {built['Size'] / 1e6:.0f} MB")


class _Progress:
    """Turns the builder's events into lines of progress, and its failure into an `ImageBuildError`."""

    def __init__(self, name: str, report: Report) -> None:
        self._name = name
        self._report = report
        self._started = time.monotonic()
        self._step = "the first step"
        self._tail: deque[str] = deque(maxlen=15)

    def feed(self, event: Mapping[str, Any]) -> None:
        if "error" in event:
            raise ImageBuildError(self._failure(str(event["error"])))
        for line in _COLOUR.sub("", event.get("stream", "")).splitlines():
            if step := _STEP.match(line):
                self._step = f"{step[1]} {step[2].strip()}"
                self._tail.clear()
                seconds = time.monotonic() - self._started
                self._report(f"  {self._name} {seconds:5.1f} s  {_shortened(self._step)}")
            elif line.strip():
                self._tail.append(line.rstrip())
                if line.startswith(("Collecting ", "Installing collected", "Successfully installed")):
                    self._report(f"  {self._name}           {_shortened(line)}")

    def _failure(self, error: str) -> str:
        output = "\n".join(self._tail)
        advice = "mend what it says and repeat `sandkasten-kernels images build`"
        if re.search(r"SSL|certificate", output, re.IGNORECASE):
            advice = "the index's certificate is not trusted: name its bundle with `pip config set global.cert`"
        elif re.search(r"NewConnectionError|name resolution|No matching distribution|timed out", output):
            advice = "pip must reach a package index: see `python -m pip config list` (index-url, proxy)"
        indented = "\n".join(f"    {line}" for line in (*self._tail, error))
        step = _shortened(self._step)
        return f"building {full_name(self._name)} failed at step {step}:\n{indented}\n{advice}"


def _shortened(text: str, limit: int = 100) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _proxies(environ: Mapping[str, str]) -> dict[str, str]:
    """Return the host's proxy variables; the builder keeps these out of the image's history."""
    names = [*_PROXY_VARIABLES, *(name.upper() for name in _PROXY_VARIABLES)]
    return {name: environ[name] for name in names if environ.get(name)}


def _image(client: docker.DockerClient, reference: str) -> dict[str, Any]:
    """Return the engine's record of an image, empty when there is none."""
    try:
        record: dict[str, Any] = client.api.inspect_image(reference)
    except docker.errors.ImageNotFound:
        return {}
    record["Config"] = record.get("Config") or {}
    record["Config"]["Labels"] = record["Config"].get("Labels") or {}
    return record


def _resolve_base(client: docker.DockerClient, base: str | None, report: Report) -> str:
    """Return the name of an image that is there: the one asked for, the official one, or one that we made."""
    if base is not None:
        if not _image(client, base) and (reason := _pull(client, base, report)):
            raise ImageBuildError(f"the base image {base} is not there and cannot be pulled: {reason}")
        return base
    if _image(client, DEFAULT_BASE):
        return DEFAULT_BASE
    try:
        own = bootstrap_tag()
    except ImageBuildError:
        own = None
    if own and _image(client, own):
        return own
    if reason := _pull(client, DEFAULT_BASE, report):
        report(f"{DEFAULT_BASE} cannot be pulled ({_shortened(reason, 160)})")
        return bootstrap_base(client, report)
    return DEFAULT_BASE


def _pull(client: docker.DockerClient, reference: str, report: Report) -> str:
    """Pull an image; return why it was not possible, or an empty string."""
    report(f"pulling {reference}")
    repository, tag = docker.utils.parse_repository_tag(reference)
    try:
        for event in client.api.pull(repository, tag=tag or "latest", stream=True, decode=True):
            if "error" in event:
                return str(event["error"])
            if event.get("status") in {"Pull complete", "Already exists"}:
                report(f"  layer {event.get('id', '')} {event['status'].lower()}")
    except docker.errors.APIError as error:
        return str(error.explanation or error)
    return ""


def _remove_replaced(client: docker.DockerClient) -> None:
    """Remove every image of ours that lost its name to a newer one, unless a sandbox still stands on it."""
    filters = {"dangling": True, "label": [DIGEST_LABEL]}
    for identifier in client.api.images(quiet=True, filters=filters):
        try:
            client.api.remove_image(identifier)
        except docker.errors.APIError as error:
            if error.status_code not in {404, 409}:
                raise
