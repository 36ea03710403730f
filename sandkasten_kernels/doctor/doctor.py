"""The doctor: every check, in the order in which an operator would make them."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any

from traitlets import HasTraits
from traitlets.config.loader import DeferredConfig

from ..config.address import parse_listen
from ..config.settings import Settings
from ..config.traits import Defaults, Limits, RootSettings
from ..engines import Engine
from ..engines.finding import Finding, ok, problem
from ..engines.registry import find_engine
from ..errors import ConfigError, SandkastenError
from ..gateway.checks import check_settings
from ..images.custom import custom_images
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
    in_use,
    nearest_directory,
)

__all__ = ["examine"]


async def examine(gateway: RootSettings, settings: Settings | ConfigError) -> AsyncIterator[Finding]:
    """Yield the findings of every check for a gateway that has read its settings; nothing is left behind.

    ``settings`` is the error instead where the configuration cannot be read; the other checks then use the defaults.
    """
    specs: Kernelspecs | None = None
    try:
        if isinstance(settings, ConfigError):
            raise settings
        specs = check_settings(settings)
    except ConfigError as error:
        yield problem("configuration", str(error), "mend it; the other checks use what can be read of it")
    else:
        yield ok("configuration", gateway.config_file or "no file: the defaults")
    for finding in _check_host(gateway):
        yield finding
    place = nearest_directory(_data_dir(gateway))
    try:
        engine = _engine(gateway, place)
    except ConfigError as error:
        yield problem("engine", *_in_two(str(error)))
        return
    try:
        async for finding in engine.diagnose(specs.images() if specs else [], custom_images(gateway.images)):
            yield finding
        if total_mb := await engine.memory_mb():
            yield _check_memory(gateway, total_mb, specs)
        usable = [spec for spec in specs or () if not await engine.image_problem(spec.image)]
        yield await _check_sandbox(gateway, engine, usable, place)
    except SandkastenError as error:
        yield problem("engine", *_in_two(str(error)))
    finally:
        await engine.leave()


def _engine(gateway: RootSettings, place: Path) -> Engine:
    """Return the engine under an instance of the doctor's own, below ``place``. Raises `ConfigError`."""
    number = uuid.uuid4().hex
    return find_engine(gateway.engine)(
        parent=gateway, instance=f"doctor-{number}", run_dir=place / f".sandkasten-{number[:8]}"
    )


def _data_dir(gateway: RootSettings) -> Path:
    return Path(gateway.data_dir).absolute()


def _check_host(gateway: RootSettings) -> Iterator[Finding]:
    data_dir = _data_dir(gateway)
    yield check_data_dir(data_dir)
    yield check_disk(data_dir)
    yield check_descriptors(Limits(parent=gateway).max_sandboxes)
    try:
        yield check_port(*parse_listen(gateway.listen), running=in_use(data_dir))
    except ConfigError as error:
        yield problem("listen", str(error), "mend the configuration")
    yield check_pidfd()
    yield check_mounts()


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
    """Return a setting of a class that is not instantiated here."""
    trait = owner.class_traits()[name]
    value = gateway.config[owner.__name__].get(name, trait.default())
    return value.get_value(trait) if isinstance(value, DeferredConfig) else value


async def _check_sandbox(gateway: RootSettings, engine: Engine, specs: Sequence[Kernelspec], place: Path) -> Finding:
    """Set the engine up as the gateway does at its start, which starts one sandbox, and give everything back.

    Parameters
    ----------
    specs: kernelspecs with a usable image.
    place: the directory in which the gateway keeps its data, or would.
    """
    if not specs:
        return problem("sandbox", f"{gateway.engine}: no image to start one of", "mend what is said above")
    try:
        engine.run_dir.mkdir(mode=0o700)
        try:
            defaults = Defaults(parent=gateway)
            try:
                await engine.setup([sandbox_spec(spec, defaults) for spec in specs])
            finally:
                await engine.cleanup()
        finally:
            shutil.rmtree(engine.run_dir)
    except (SandkastenError, ConfigError) as error:
        return problem("sandbox", *_in_two(str(error)))
    except OSError as error:
        return problem("sandbox", f"{place}: {error.strerror}", "name a directory of this user's with --data-dir")
    return ok("sandbox", "one was started, its guest answered, and it is gone again")


def _in_two(message: str) -> tuple[str, str]:
    """Split a message into the fault and the way out: our errors have the way out after the last colon."""
    saw, _, advice = message.rpartition(": ")
    return (saw, advice) if saw else (message, "see the gateway's log")
