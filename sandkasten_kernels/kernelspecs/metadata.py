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

    image = Unicode(help="The image of the sandboxes; required.").tag(config=True)
    kernel = Enum(
        ["process", "guest"],
        "process",
        help="`process`: the sandbox runs `argv`. `guest`: the bash of the guest is the kernel.",
    ).tag(config=True)
    network_mode = Enum(
        ["none", "bridge"], "none", help="The network of a sandbox. Default: `defaults.network_mode`."
    ).tag(config=True)
    pool = Bool(True, help="Whether the pool may keep kernels warm.").tag(config=True)
    auto_restart = Bool(
        True, help="Whether the gateway restarts a kernel that ends by itself; its variables are lost."
    ).tag(config=True)
    heartbeat_seconds = Int(
        10,
        min=0,
        help="Seconds of silence, while a client waits, after which the gateway asks the kernel on its control "
        "channel. A kernel without an answer after as many seconds more is unresponsive. 0: no heartbeat.",
    ).tag(config=True)
    interrupt_seconds = Int(
        10,
        min=0,
        help="Seconds after an interrupt until a cell that still runs gets SIGINT; after as many seconds more the "
        "kernel gets SIGTERM and the gateway restarts it. 0: neither.",
    ).tag(config=True)
    warm_up = Unicode("", help="Code that the kernel runs silently before it counts as warm.").tag(config=True)
    after_claim = Unicode(
        "",
        help="Code that the kernel runs silently after a claim and after each restart, with its owner's environment, "
        "before the owner's first request. If it fails, the claim fails.",
    ).tag(config=True)


class LimitsMetadata(HasTraits):
    """The keys of ``metadata.sandkasten.limits``."""

    cpu_limit = PositiveFloat(1.0, help="CPU time, in cores. Default: `defaults.cpu_limit`.").tag(config=True)
    mem_limit_mb = Int(512, min=128, help="Memory in MiB. Default: `defaults.mem_limit_mb`.").tag(config=True)
    pids_limit = Int(256, min=32, help="Processes and threads. Default: `defaults.pids_limit`.").tag(config=True)


class CullingMetadata(HasTraits):
    """The keys of ``metadata.sandkasten.culling``; a missing key has the value of the gateway's settings."""

    ttl_seconds = Int(0, min=0, help="Seconds after its last use until a session ends; 0: never.").tag(config=True)
    max_lifetime_seconds = Int(0, min=0, help="Seconds after its creation until it ends; 0: never.").tag(config=True)
    cull_connected = Bool(False, help="Whether the ttl also counts while a client is connected.").tag(config=True)
    cull_busy = Bool(False, help="Whether it also ends while something runs.").tag(config=True)


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
