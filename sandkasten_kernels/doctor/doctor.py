"""The doctor: every check, in the order in which an operator would make them."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path

from ..config import Defaults, Limits, RootSettings, Settings, parse_listen
from ..engines import Engine, Finding, find_engine, ok, problem
from ..errors import ConfigError, SandkastenError
from ..gateway import check_settings
from ..images import custom_images
from ..kernelspecs import Kernelspec, Kernelspecs
from ..pool import sandbox_spec
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


async def examine(settings: Settings, file: str, error: ConfigError | None = None) -> AsyncIterator[Finding]:
    """Yield the findings of every check for a gateway with these settings; nothing is left behind.

    Parameters
    ----------
    settings: where the configuration cannot be read, what can be read of it.
    file: the configuration file; empty if there is none.
    error: why the configuration cannot be read.
    """
    specs: Kernelspecs | None = None
    try:
        if error is not None:
            raise error
        specs = check_settings(settings)
    except ConfigError as wrong:
        yield problem("configuration", str(wrong), "mend it; the other checks use what can be read of it")
    else:
        yield ok("configuration", file or "no file: the defaults")
    for finding in _check_host(settings):
        yield finding
    place = nearest_directory(_data_dir(settings))
    try:
        engine = _engine(settings, place)
    except ConfigError as wrong:
        yield problem("engine", *_in_two(str(wrong)))
        return
    try:
        async for finding in engine.diagnose(specs.images() if specs else [], custom_images(settings.value("images"))):
            yield finding
        if total_mb := await engine.memory_mb():
            yield _check_memory(settings, total_mb, specs)
        usable = [spec for spec in specs or () if not await engine.image_problem(spec.image)]
        yield await _check_sandbox(settings, engine, usable, place)
    except SandkastenError as failure:
        yield problem("engine", *_in_two(str(failure)))
    finally:
        await engine.leave()


def _engine(settings: Settings, place: Path) -> Engine:
    """Return the engine under an instance of the doctor's own, below ``place``. Raises `ConfigError`."""
    number = uuid.uuid4().hex
    return find_engine(settings.value("engine"))(
        config=settings.config,
        log=RootSettings(config=settings.config).log,
        # An instance of its own: a running gateway's sandboxes must stay
        instance=f"doctor-{number}",
        run_dir=place / f".sandkasten-{number[:8]}",  # beside the gateway's: the engine must be able to mount both
    )


def _data_dir(settings: Settings) -> Path:
    return Path(settings.value("data_dir")).absolute()


def _check_host(settings: Settings) -> Iterator[Finding]:
    data_dir = _data_dir(settings)
    yield check_data_dir(data_dir)
    yield check_disk(data_dir)
    yield check_descriptors(settings.value("limits", "max_sandboxes"))
    try:
        yield check_port(*parse_listen(settings.value("listen")), running=in_use(data_dir))
    except ConfigError as error:
        yield problem("listen", str(error), "mend the configuration")
    yield check_pidfd()
    yield check_mounts()


def _check_memory(settings: Settings, machine_mb: int, specs: Kernelspecs | None) -> Finding:
    defaults, limits = Defaults(config=settings.config), Limits(config=settings.config)
    warm: dict[str, int] = settings.value("pool", "images") if settings.value("pool", "enabled") else {}
    warm_mb = 0
    for image, count in warm.items():
        spec = specs.for_image(image) if specs else None
        warm_mb += count * ((spec and spec.limits.mem_limit_mb) or defaults.mem_limit_mb)
    total = machine_mb - limits.host_reserve_mb
    return check_memory(total, warm_mb, defaults.mem_limit_mb, limits.max_sandboxes)


async def _check_sandbox(settings: Settings, engine: Engine, specs: Sequence[Kernelspec], place: Path) -> Finding:
    """Set the engine up as the gateway does at its start, which starts one sandbox, and give everything back.

    Parameters
    ----------
    specs: kernelspecs with a usable image.
    place: the directory in which the gateway keeps its data, or would.
    """
    if not specs:
        return problem("sandbox", f"{settings.value('engine')}: no image to start one of", "mend what is said above")
    try:
        engine.run_dir.mkdir(mode=0o700)
        try:
            defaults = Defaults(config=settings.config)
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
