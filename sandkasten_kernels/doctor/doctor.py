"""All checks of the doctor's, in the order in which an operator would make them."""

from __future__ import annotations

import os
import tempfile
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

import docker
from traitlets import HasTraits
from traitlets.config.loader import DeferredConfig

from ..config.address import parse_listen
from ..config.settings import Settings
from ..config.traits import Defaults, Limits, RootSettings
from ..engines import SandboxSpec
from ..engines.docker.builder.state import image_states
from ..engines.docker.connection import connect
from ..engines.docker.doctor import (
    check_cgroups,
    check_confinement,
    check_engine_disk,
    check_engine_warnings,
    check_image,
    check_storage,
    check_versions,
)
from ..engines.docker.images import ENGINE_ERRORS, image_record
from ..engines.finding import Finding, ok, problem
from ..engines.registry import engine_names, find_engine
from ..errors import ConfigError, SandkastenError
from ..gateway.checks import check_settings
from ..guest import PROTOCOL
from ..images.custom import custom_images
from ..images.names import PROTOCOL_LABEL, full_name
from ..images.state import ImageState, ImageStatus
from ..kernelspecs.kernelspec import Kernelspec, Kernelspecs
from ..pool.launcher import sandbox_spec
from ..pool.pool import Pool
from .host import (
    check_data_dir,
    check_descriptors,
    check_disk,
    check_memory,
    check_mounts,
    check_pidfd,
    check_port,
    check_user,
    in_use,
    nearest_directory,
)

__all__ = ["examine"]


async def examine(gateway: RootSettings, settings: Settings | ConfigError) -> AsyncIterator[Finding]:
    """Yield what every check finds for a gateway that has its settings; nothing is left behind.

    An error is what keeps the configuration from being read; the rest is then checked for the defaults.
    """
    specs: Kernelspecs | None = None
    try:
        if isinstance(settings, ConfigError):
            raise settings
        specs = check_settings(settings)
    except ConfigError as error:
        yield problem("configuration", str(error), "mend it; what follows is checked as far as it can be read")
    else:
        yield ok("configuration", gateway.config_file or "no file: the defaults")
    for finding in _check_host(gateway):
        yield finding
    usable = list(specs or ())
    if gateway.engine == "docker":
        try:
            client = connect()
            for finding in _check_engine(gateway, client, specs):
                yield finding
            usable = [spec for spec in specs or () if _is_usable(client, spec.image)]
        except (SandkastenError, *ENGINE_ERRORS) as error:
            yield problem("engine", *_in_two(str(error)))
            return
    yield await _check_sandbox(gateway, usable, nearest_directory(_data_dir(gateway)))


def _data_dir(gateway: RootSettings) -> Path:
    return Path(gateway.data_dir).absolute()


def _check_host(gateway: RootSettings) -> Iterator[Finding]:
    data_dir = _data_dir(gateway)
    yield check_user()
    yield check_data_dir(data_dir)
    yield check_disk(data_dir)
    yield check_descriptors(Limits(parent=gateway).max_sandboxes)
    try:
        yield check_port(*parse_listen(gateway.listen), running=in_use(data_dir))
    except ConfigError as error:
        yield problem("listen", str(error), "mend the configuration")
    yield check_pidfd()
    yield check_mounts()


def _check_engine(gateway: RootSettings, client: docker.DockerClient, specs: Kernelspecs | None) -> Iterator[Finding]:
    version: dict[str, Any] = client.version()
    info: dict[str, Any] = client.info()
    name = (version.get("Platform") or {}).get("Name") or "Docker"
    yield ok("engine", f"{name} {version['Version']} answers at {os.environ.get('DOCKER_HOST') or 'its socket'}")
    yield from check_engine_warnings(info)
    yield from check_versions(version, info)
    yield check_cgroups(info)
    yield from check_confinement(info)
    yield check_storage(info)
    yield check_engine_disk(info)
    yield _check_memory(gateway, info["MemTotal"] >> 20, specs)
    known = {state.name: state for state in image_states(client, custom_images(gateway.images))}
    for image in specs.images() if specs else ():
        yield check_image(known.get(image) or _foreign_state(client, image))


def _check_memory(gateway: RootSettings, machine_mb: int, specs: Kernelspecs | None) -> Finding:
    defaults, limits = Defaults(parent=gateway), Limits(parent=gateway)
    warm: dict[str, int] = _setting(gateway, Pool, "images") if _setting(gateway, Pool, "enabled") else {}
    warm_mb = 0
    for image, count in warm.items():
        spec = specs.for_image(image) if specs else None
        warm_mb += count * ((spec and spec.limits.mem_limit_mb) or defaults.mem_limit_mb)
    total = machine_mb - limits.host_reserve_mb
    return check_memory(total, warm_mb, defaults.mem_limit_mb, limits.max_sandboxes)


def _setting(gateway: RootSettings, owner: type[HasTraits], name: str) -> Any:
    """Return a setting of a part that is not made here."""
    trait = owner.class_traits()[name]
    value = gateway.config[owner.__name__].get(name, trait.default())
    return value.get_value(trait) if isinstance(value, DeferredConfig) else value


def _is_usable(client: docker.DockerClient, image: str) -> bool:
    return _foreign_state(client, image).standing is ImageStatus.CURRENT


def _foreign_state(client: docker.DockerClient, image: str) -> ImageState:
    """Return the state of an image that somebody else builds: it is there and of our protocol, or not."""
    reference = full_name(image)
    record = image_record(client, reference)
    if not record:
        return ImageState(image, reference, ImageStatus.MISSING)
    foreign = record["Config"]["Labels"].get(PROTOCOL_LABEL) != str(PROTOCOL)
    return ImageState(image, reference, ImageStatus.FOREIGN if foreign else ImageStatus.CURRENT, record["Size"])


async def _check_sandbox(gateway: RootSettings, specs: Sequence[Kernelspec], place: Path) -> Finding:
    """Start one sandbox as the gateway does at its start, by an instance that is forgotten afterwards.

    `specs` have an image; `place` is where the gateway keeps its data.
    """
    if not specs or gateway.engine not in engine_names():
        what = "there is no such engine" if specs else "no image to start one of"
        return problem("sandbox", f"{gateway.engine}: {what}", "mend what is said above")
    try:
        with tempfile.TemporaryDirectory(prefix=".sandkasten-", dir=place) as run_dir:
            engine = find_engine(gateway.engine)(
                parent=gateway, instance=f"doctor-{uuid.uuid4().hex}", run_dir=Path(run_dir)
            )
            defaults = Defaults(parent=gateway)
            wanted: list[SandboxSpec] = [sandbox_spec(spec, defaults) for spec in specs]
            try:
                await engine.setup(wanted)
            finally:
                await engine.cleanup()
    except (SandkastenError, ConfigError) as error:
        return problem("sandbox", *_in_two(str(error)))
    except OSError as error:
        return problem("sandbox", f"{place}: {error.strerror}", "name a directory of this user's with --data-dir")
    return ok("sandbox", "one was started, its guest answered, and it is gone again")


def _in_two(message: str) -> tuple[str, str]:
    """Return what is wrong and what to do, which our errors have after the last colon."""
    saw, _, advice = message.rpartition(": ")
    return (saw, advice) if saw else (message, "see the gateway's log")
