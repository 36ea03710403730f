"""Base images from a registry: a real one on loopback."""

from __future__ import annotations

import contextlib
import io
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import docker
import pytest

from sandkasten_kernels.engines.docker.builder import base as base_image
from sandkasten_kernels.engines.docker.builder.base import DEFAULT_BASE, present_base, resolve_base
from sandkasten_kernels.engines.docker.builder.images import build_images
from sandkasten_kernels.engines.docker.builder.state import image_states
from sandkasten_kernels.engines.docker.images import image_record
from sandkasten_kernels.errors import ImageBuildError
from sandkasten_kernels.guest import PROTOCOL
from sandkasten_kernels.images.names import PROTOCOL_LABEL, full_name
from sandkasten_kernels.images.state import ImageStatus
from tests.support.image_registry import ImageRegistry, RegistryUnavailable, registry_program

pytestmark = [pytest.mark.docker, pytest.mark.alone, pytest.mark.slow]


@pytest.fixture(scope="module")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ImageRegistry]:
    folder = tmp_path_factory.mktemp("registry")
    try:
        program = registry_program(folder)
    except RegistryUnavailable as error:
        refuse = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        refuse(str(error))
    with ImageRegistry(program, folder) as running:
        yield running


@pytest.fixture(scope="module")
def published(engine: docker.DockerClient, registry: ImageRegistry) -> Iterator[str]:
    """The name of a base image that is in the registry; whatever the tests make from it is removed."""
    origin = present_base(engine)
    assert origin, "there is no base image to publish: run `make images`"
    reference = f"{registry.address}/{DEFAULT_BASE}"
    dockerfile = f"FROM {origin}\nRUN echo {uuid.uuid4()} >/etc/sandkasten-test\n"
    image, _ = engine.images.build(fileobj=io.BytesIO(dockerfile.encode()), tag=reference, rm=True, forcerm=True)
    layer = image.attrs["RootFS"]["Layers"][-1]
    try:
        for event in engine.api.push(reference, stream=True, decode=True):
            assert "error" not in event, event
        engine.images.remove(reference)
        yield reference
    finally:
        _remove_all_of(engine, layer)


def _remove_all_of(engine: docker.DockerClient, layer: str) -> None:
    """Remove every image with this layer, those of stages of a build too."""
    found = []
    for record in engine.api.images(all=True):
        details = image_record(engine, record["Id"])
        layers = details.get("RootFS", {}).get("Layers") or []
        if layer in layers:
            found.append((len(layers), details["Created"], details["Id"]))
    for _, _, identifier in sorted(found, reverse=True):
        with contextlib.suppress(docker.errors.ImageNotFound):  # it went with an image that stood on it
            engine.images.remove(identifier, force=True)


@pytest.fixture
def absent(engine: docker.DockerClient, published: str) -> str:
    """The name of the published base, of which the engine has nothing."""
    with contextlib.suppress(docker.errors.ImageNotFound):
        engine.images.remove(published)
    assert present_base(engine, published) is None
    return published


def test_an_image_is_built_from_a_base_that_is_pulled(engine: docker.DockerClient, absent: str) -> None:
    repository = f"sandkasten-test-{uuid.uuid4().hex[:12]}"
    lines: list[str] = []
    build_images(engine, ["base"], base=absent, report=lines.append, repository=repository)
    reference = full_name("base", repository)
    assert lines[0] == f"pulling {absent}"
    assert any(line.startswith("  layer ") and line.endswith(" pull complete") for line in lines)
    assert f"building {reference} from {absent}" in lines
    built = engine.images.get(reference)
    assert built.labels[PROTOCOL_LABEL] == str(PROTOCOL)
    assert built.attrs["Config"]["User"] == "10001:10001"
    states = {state.name: state.status for state in image_states(engine, {}, base=absent, repository=repository)}
    assert states == {"base": ImageStatus.CURRENT, "python": ImageStatus.MISSING}

    again: list[str] = []
    build_images(engine, ["base"], base=absent, report=again.append, repository=repository)
    assert again == [f"{reference} is up to date"]


def test_the_official_base_is_pulled_where_a_registry_answers(
    engine: docker.DockerClient, absent: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(base_image, "DEFAULT_BASE", absent)
    monkeypatch.setattr(base_image, "bootstrap_tag", lambda: "sandkasten-base:none")
    lines: list[str] = []
    assert resolve_base(engine, None, lines.append) == absent
    assert lines[0] == f"pulling {absent}"
    assert resolve_base(engine, None, lines.append) == absent
    assert lines.count(f"pulling {absent}") == 1


def test_a_base_that_the_registry_does_not_have_is_told(engine: docker.DockerClient, registry: ImageRegistry) -> None:
    missing = f"{registry.address}/python:none"
    with pytest.raises(ImageBuildError, match=f"the base image {missing} is not there and cannot be pulled: .*unknown"):
        build_images(engine, ["base"], base=missing, report=print)


def test_without_a_registry_a_base_is_made_from_packages(
    engine: docker.DockerClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    nowhere = "localhost:1/python:3.12-slim-bookworm"
    monkeypatch.setattr(base_image, "DEFAULT_BASE", nowhere)
    monkeypatch.setattr(base_image, "bootstrap_tag", lambda: "sandkasten-base:none")
    monkeypatch.setattr(base_image, "_bootstrap", lambda _client, _report: "sandkasten-base:made")
    lines: list[str] = []
    assert resolve_base(engine, None, lines.append) == "sandkasten-base:made"
    assert lines[0] == f"pulling {nowhere}"
    assert lines[1].startswith(f"{nowhere} cannot be pulled (")


def test_a_base_without_python_is_refused_with_the_step(engine: docker.DockerClient, folder: Path) -> None:
    name = f"sandkasten-test-{uuid.uuid4().hex[:12]}"
    image, _ = engine.images.build(fileobj=io.BytesIO(b"FROM scratch\nLABEL empty=1\n"), tag=name, rm=True)
    repository = f"{name}-built"
    try:
        with pytest.raises(
            ImageBuildError, match=rf"(?s)building {repository}:base failed at step \d+/\d+ RUN python3"
        ):
            build_images(engine, ["base"], base=name, report=print, repository=repository)
        assert not [tag for found in engine.images.list() for tag in found.tags if tag.startswith(repository)]
    finally:
        engine.images.remove(image.id, force=True)
