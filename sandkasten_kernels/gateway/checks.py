"""Checks of all settings together on this machine, which ``serve`` and ``config check`` make before anything starts."""

from __future__ import annotations

import os
import re
from functools import partial
from typing import NamedTuple

from ..config import KeyPath, Limits, Settings, is_loopback, nearest, parse_listen
from ..engines import engine_names, find_engine
from ..errors import ConfigError
from ..handlers.origins import OriginPolicy
from ..images import custom_images
from ..kernelspecs import Kernelspec, Kernelspecs, custom_kernelspecs
from ..paths import asset_dir

__all__ = ["Machine", "check_settings", "find_kernelspecs", "find_origin_policy", "within"]

LEAST_CPUS = 0.01
"""The smallest share of CPU time that Linux grants: 1 ms in 100."""

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Machine(NamedTuple):
    """The resources that sandboxes share: processors, and memory in MiB."""

    cpus: int
    memory_mb: int

    @classmethod
    def this(cls) -> Machine:
        """Return the resources of this machine."""
        return cls(os.cpu_count() or 1, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20)


def check_settings(settings: Settings, machine: Machine | None = None) -> Kernelspecs:
    """Return the kernelspecs on offer. Raises `ConfigError` for settings that contradict each other or the machine.

    Starts, creates and locks nothing: touches neither the engine nor `data_dir` nor the port.
    """
    _check_listen(settings)
    find_origin_policy(settings)
    _check_engine(settings)
    specs = find_kernelspecs(settings)
    _check_images(settings, specs)
    _check_pool(settings, specs)
    _check_machine(settings, specs, machine or Machine.this())
    for number, name in enumerate(settings.value("env_names")):
        if not _VARIABLE.fullmatch(name):
            raise settings.error(("env_names", str(number)), f"{name!r} is not a valid name of a variable")
    return specs


def within(limits: Limits, machine: Machine | None = None) -> Limits:
    """Lower `limits` of requests to the resources of the machine, and return them."""
    machine = machine or Machine.this()
    limits.max_cpu_limit = min(limits.max_cpu_limit, machine.cpus)
    least = Limits.max_mem_limit_mb.min
    limits.max_mem_limit_mb = max(least, min(limits.max_mem_limit_mb, machine.memory_mb - limits.host_reserve_mb))
    return limits


def find_kernelspecs(settings: Settings) -> Kernelspecs:
    """Return the kernelspecs of `kernelspec_dirs`, the built-in ones, and those of `images`.

    Raises `ConfigError` for an absent directory, and for a custom image that would hide a kernelspec.
    """
    base = settings.base("kernelspec_dirs")
    directories = [base / name for name in settings.value("kernelspec_dirs")]
    for number, directory in enumerate(directories):
        if not directory.is_dir():
            what = "not a directory" if directory.exists() else "there is no such directory"
            raise settings.error(("kernelspec_dirs", str(number)), f"{directory.absolute()}: {what}")
    directories.append(asset_dir("kernelspecs"))
    own = custom_images(settings.value("images"))
    return Kernelspecs(
        directories,
        extra=custom_kernelspecs(own, Kernelspecs(directories), settings.error),
        allowed_images=settings.value("allowed_images"),
        default_image=settings.value("default_image"),
    )


def find_origin_policy(settings: Settings) -> OriginPolicy:
    """Return base path, trust in proxies and allowed origins. Raises `ConfigError`."""
    names = ("base_url", "trust_proxy", "allow_origin", "allow_credentials")
    try:
        return OriginPolicy(**{name: settings.value(name) for name in names})
    except ConfigError as error:
        name, _, problem = str(error).partition(": ")
        raise settings.error((name,), problem) from error


def _check_listen(settings: Settings) -> None:
    listen, key = settings.value("listen"), settings.value("api_key")
    if not re.fullmatch(r"[!-~]*", key):
        problem = "expected printable ASCII characters without spaces: clients send this key in a header"
        raise settings.error(("api_key",), problem)
    if not key and not is_loopback(parse_listen(listen)[0]):
        problem = f"other machines can reach {listen}; set api_key, or listen on 127.0.0.1"
        raise settings.error(("listen",), problem)


def _check_engine(settings: Settings) -> None:
    name, known = settings.value("engine"), engine_names()
    if name not in known:
        raise settings.error(("engine",), f"there is no {name!r}{_choice(name, known, 'there are')}")
    find_engine(name)


def _check_images(settings: Settings, specs: Kernelspecs) -> None:
    for number, image in enumerate(settings.value("allowed_images")):
        if image not in specs.known_images:
            raise settings.error(("allowed_images", str(number)), _no_kernelspec(image, specs.known_images))
    image = settings.value("default_image")
    if image not in specs.images():
        raise settings.error(("default_image",), _unusable(settings, ("default_image",), image, specs))


def _check_pool(settings: Settings, specs: Kernelspecs) -> None:
    targets, given = settings.value("pool", "images"), settings.given("pool", "images")
    enabled = settings.value("pool", "enabled")
    if not enabled and not given:
        return
    for image in targets:
        path = ("pool", "images", image)
        if image not in specs.images():
            raise settings.error(path, _unusable(settings, path, image, specs))
        standard = specs.for_image(image)
        if targets[image] and standard and not standard.pool:
            file = standard.resource_dir / "kernel.json"
            raise settings.error(path, f"no kernelspec of this image allows warm kernels: see the metadata in {file}")
    total, limit = sum(targets.values()), settings.value("limits", "max_sandboxes")
    if given and enabled and total > limit:
        raise settings.error(("pool", "images"), f"{total} warm kernels are more than limits.max_sandboxes, {limit}")


def _check_machine(settings: Settings, specs: Kernelspecs, machine: Machine) -> None:
    """Check limits of sandboxes: an engine refuses more CPUs than there are, and more memory would be no limit."""
    reserve = settings.value("limits", "host_reserve_mb")
    if reserve >= machine.memory_mb:
        problem = f"{reserve} leaves no memory for sandboxes: this machine has {machine.memory_mb} MiB of memory"
        raise settings.error(("limits", "host_reserve_mb"), problem)
    memory = f"{machine.memory_mb - reserve} MiB of memory beside limits.host_reserve_mb, {reserve}"
    ranges = {
        "cpu_limit": (LEAST_CPUS, machine.cpus, f"{machine.cpus} CPUs"),
        "mem_limit_mb": (0, machine.memory_mb - reserve, memory),
    }
    for name, (least, most, available) in ranges.items():
        asked = [(settings.value("defaults", name), partial(settings.error, ("defaults", name)))]
        # `or most`: a kernelspec without a limit passes
        asked += [(getattr(spec.limits, name) or most, partial(_kernelspec_error, spec, name)) for spec in specs]
        for value, error in asked:
            if value > most:
                raise error(f"{value} is more than this machine has: {available}")
            if value < least:
                raise error(f"{value} is below the smallest possible value, {least}")


def _kernelspec_error(spec: Kernelspec, limit: str, problem: str) -> ConfigError:
    return ConfigError(f"{spec.resource_dir / 'kernel.json'}: metadata.sandkasten.limits.{limit}: {problem}")


def _unusable(settings: Settings, path: KeyPath, image: str, specs: Kernelspecs) -> str:
    """Return why no kernel can run in an image: it is not allowed, or has no kernelspec."""
    origin = "" if settings.given(*path[:2]) else " (the default)"
    if image in specs.known_images:
        allowed = ", ".join(settings.value("allowed_images"))
        return f"the image {image!r}{origin} is not among allowed_images, {allowed}: set {'.'.join(path[:2])} to match"
    return _no_kernelspec(image, specs.images())


def _no_kernelspec(image: str, known: list[str]) -> str:
    return f"no kernelspec runs in the image {image!r}{_choice(image, known, 'images with one')}"


def _choice(name: str, known: list[str], label: str) -> str:
    match = nearest(name, known)
    return f"; did you mean {match}?" if match else f"; {label}: {', '.join(known) or 'none'}"
