"""The schema of ``metadata.sandkasten`` in a ``kernel.json``: the sandboxes of a kernelspec."""

from __future__ import annotations

from pathlib import Path
from typing import Any, NamedTuple

from traitlets import Bool, Enum, HasTraits, Int, Unicode

from ..config import KeyPath, Keys, PositiveFloat, Sections, in_words, shown
from ..errors import ConfigError

__all__ = ["DEFAULT_CULLING", "DEFAULT_LIMITS", "NAME", "SCHEMA", "Culling", "SandboxLimits", "read_metadata"]

NAME = "sandkasten"


class SandboxLimits(NamedTuple):
    """Limits of the sandboxes of a kernelspec; None for the value in `defaults`."""

    cpu_limit: float | None = None
    mem_limit_mb: int | None = None
    pids_limit: int | None = None


DEFAULT_LIMITS = SandboxLimits()


class Culling(NamedTuple):
    """When sessions end by themselves; None for the value of the settings. Times are in seconds, 0 is never."""

    ttl_seconds: int | None = None
    max_lifetime_seconds: int | None = None
    cull_connected: bool | None = None
    cull_busy: bool | None = None


DEFAULT_CULLING = Culling()


class SandboxMetadata(HasTraits):
    """The keys of ``metadata.sandkasten``."""

    image = Unicode(help="The image that the sandboxes are made from; must be there.").tag(config=True)
    kernel = Enum(
        ["process", "guest"],
        "process",
        help="`process`: `argv` is started in the sandbox. `guest`: the sandbox's own bash is the kernel.",
    ).tag(config=True)
    network_mode = Enum(
        ["none", "bridge"], "none", help="What a sandbox can reach; left out: `defaults.network_mode`."
    ).tag(config=True)
    pool = Bool(True, help="Whether the pool may keep kernels warm.").tag(config=True)
    auto_restart = Bool(True, help="Whether a kernel that ends by itself is started again, without its variables.").tag(
        config=True
    )
    heartbeat_seconds = Int(
        10,
        min=0,
        help="A kernel that somebody waits for and that says nothing for so long is asked on its control channel, and "
        "unresponsive when it has not answered after as long; 0: it is never asked.",
    ).tag(config=True)
    interrupt_seconds = Int(
        10,
        min=0,
        help="So long after an interrupt a cell that still runs gets SIGINT, and after as long again the kernel gets "
        "SIGTERM and is started again; 0: neither.",
    ).tag(config=True)
    warm_up = Unicode("", help="Code that a kernel runs silently before it counts as warm.").tag(config=True)
    after_claim = Unicode(
        "",
        help="Code that a claimed kernel runs silently, with its owner's environment and ahead of the owner's first "
        "request; again after a restart. Where it fails, so does the claim.",
    ).tag(config=True)


class LimitsMetadata(HasTraits):
    """The keys of ``metadata.sandkasten.limits``."""

    cpu_limit = PositiveFloat(1.0, help="CPU time, in cores; left out: `defaults.cpu_limit`.").tag(config=True)
    mem_limit_mb = Int(512, min=128, help="Memory in MiB; left out: `defaults.mem_limit_mb`.").tag(config=True)
    pids_limit = Int(256, min=32, help="Processes and threads; left out: `defaults.pids_limit`.").tag(config=True)


class CullingMetadata(HasTraits):
    """The keys of ``metadata.sandkasten.culling``; a missing key has the value of the gateway's settings."""

    ttl_seconds = Int(0, min=0, help="A session ends so long after its last use; 0: never.").tag(config=True)
    max_lifetime_seconds = Int(0, min=0, help="It ends so long after its creation; 0: never.").tag(config=True)
    cull_connected = Bool(False, help="Whether its ttl counts while a client is connected.").tag(config=True)
    cull_busy = Bool(False, help="Whether it ends while something runs.").tag(config=True)


SCHEMA: Sections = {"": SandboxMetadata, "limits": LimitsMetadata, "culling": CullingMetadata}


def read_metadata(file: Path, data: Any) -> dict[str, Any]:
    """Return the fields of a `Kernelspec` that ``data`` sets.

    Raises `ConfigError` that names the file, the key and the nearest right one.
    """

    def error(path: KeyPath, problem: str) -> ConfigError:
        return ConfigError(f"{file}: {'.'.join(('metadata', NAME, *map(shown, path)))}: {problem}")

    if not isinstance(data, dict):
        raise error((), f'expected an object as in {{"image": "python"}}, got {in_words(data)}')
    given = {key.path: value for key, value in Keys(SCHEMA).read(data, error)}
    if not given.get(("image",)):
        raise error(("image",), 'it must name the image, as in {"image": "python"}')
    limits = SandboxLimits(**{path[1]: value for path, value in given.items() if path[0] == "limits"})
    culling = Culling(**{path[1]: value for path, value in given.items() if path[0] == "culling"})
    fields = {path[0]: value for path, value in given.items() if len(path) == 1}
    in_guest = fields.pop("kernel", "process") == "guest"
    return {**fields, "in_guest": in_guest, "limits": limits, "culling": culling}
