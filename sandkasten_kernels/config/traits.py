"""Every setting, by section: its type, its default, its help text, and what a saved change applies to."""

from __future__ import annotations

import logging
from typing import Any

from traitlets import Bool, Dict, Enum, Float, Int, Integer, List, Unicode, observe, validate
from traitlets.config import Application, Configurable, LoggingConfigurable

from ..client.runtime_file import default_data_dir
from .address import parse_listen
from .custom_images import CustomImages
from .keys import Sections
from .validation import PositiveFloat

__all__ = ["SECTIONS", "Defaults", "Limits", "PoolSettings", "RootSettings", "WorkspaceSettings"]

AT_ONCE, NEW_SESSIONS = "at once", "for new sessions"
NEW_SANDBOXES = "for new sandboxes; warm ones are replaced"
"""Values of the tag ``applies``; a setting without the tag takes effect after a restart."""


class RootSettings(Application):
    """The keys of the root of the file, and the log of the program, which they set."""

    settings_name = "SandkastenApp"

    listen = Unicode("127.0.0.1:8080", help="Address to serve at, as HOST:PORT; port 0 takes a free port.").tag(
        config=True
    )
    api_key = Unicode(
        "",
        help="Token that clients must send. Empty: the gateway generates one, keeps it in data_dir and prints it at "
        "start.",
    ).tag(config=True)
    default_image = Unicode("python", help="Image of a session or kernel when the request names none.").tag(config=True)
    allowed_images = List(
        Unicode(), help="Names of the images that may be used. Empty: every image that has a kernelspec."
    ).tag(config=True)
    images = CustomImages(
        help="Custom images by name: `{science: {from: python, pip: [polars], apt: [ffmpeg]}}`. "
        "`images build science` builds one (docs/images.md)."
    ).tag(config=True)
    kernelspec_dirs = List(
        Unicode(),
        help="Directories of kernelspecs, searched before the built-in ones. A relative path starts at the directory "
        "of the configuration file.",
    ).tag(config=True)
    data_dir = Unicode(
        help="Directory for the state of this gateway: token, instance id, sessions, run-time files. Each gateway "
        "needs its own."
    ).tag(config=True, default_words="`/var/lib/sandkasten` for root, else `~/.local/state/sandkasten` (XDG)")
    session_ttl_seconds = Integer(
        1800,
        min=0,
        max=86400,
        help="Seconds after its last use until a session made over /v1 ends; 0 means never. Running code and an "
        "attached client count as use. A request may ask for another value.",
    ).tag(config=True, applies=NEW_SESSIONS)
    kernel_ttl_seconds = Integer(
        43200,
        min=0,
        help="Seconds after its last use until a kernel made over /api (JupyterLab) ends; 0 means never.",
    ).tag(config=True, applies=NEW_SESSIONS)
    max_lifetime_seconds = Integer(
        0,
        min=0,
        help="Seconds after its creation until a session ends, used or not, once nothing runs in it; 0 means never.",
    ).tag(config=True, applies=NEW_SESSIONS)
    cull_connected = Bool(
        False, help="Whether an unused session ends even while a client is attached over a WebSocket."
    ).tag(config=True, applies=NEW_SESSIONS)
    cull_busy = Bool(
        False,
        help="Whether a session ends even while code runs in it: when it is older than max_lifetime_seconds, or unused "
        "for its TTL. If false, the session ends as soon as that code has ended.",
    ).tag(config=True, applies=NEW_SESSIONS)
    retention_seconds = Integer(
        3600, min=0, help="Seconds that an ended session stays listed, with the reason of its end."
    ).tag(config=True, applies=AT_ONCE)
    env_names = List(
        Unicode(), help="Names of environment variables that a request may set for its kernel, besides KERNEL_*."
    ).tag(config=True, applies=NEW_SESSIONS)
    base_url = Unicode("/", help="Path in front of every route, as in /sandkasten/.").tag(config=True)
    trust_proxy = Bool(
        False,
        help="Whether to trust X-Forwarded-For, -Proto and -Host. Set it only behind a proxy that sets all three.",
    ).tag(config=True)
    allow_origin = Unicode(
        "", help="Origin of another site with pages that may call the gateway, or * for any. Empty: none."
    ).tag(config=True)
    allow_credentials = Bool(
        False, help="Whether pages of allow_origin may also send the browser's cookie; not with allow_origin: *."
    ).tag(config=True)
    engine = Unicode(
        "docker", help="Engine that runs the sandboxes: the name of an entry point of sandkasten_kernels.engines."
    ).tag(config=True)
    on_stop = Enum(
        ["end", "keep"],
        "end",
        help="Fate of the sandboxes when the gateway stops: end, or keep; kept ones run on, and the next start takes "
        "them over (docs/reliability.md). A killed gateway always keeps them.",
    ).tag(config=True, applies=AT_ONCE)
    log_level = Enum(
        (0, 10, 20, 30, 40, 50, "DEBUG", "INFO", "WARN", "ERROR", "CRITICAL"),
        default_value=logging.INFO,
        help="Lowest level of the messages in the log, by name or number.",
    ).tag(config=True, applies=AT_ONCE)
    config_file = Unicode("", help="Path of the YAML configuration file; an option of the command line only.").tag(
        config=True, command_line_only=True
    )

    @classmethod
    def section_names(cls) -> list[str]:
        """Return the names of the sections of a `Config` that set it, from the most general to the most special."""
        return [*super().section_names(), cls.settings_name]

    def _log_format_default(self) -> str:
        return "%(asctime)s%(highlevel)s %(message)s"

    def _data_dir_default(self) -> str:
        return str(default_data_dir())

    @observe("config", type="change")
    def _config_changed(self, change: Any) -> None:
        # Application's own method logs all of the configuration at debug level, and api_key with it
        super(Application, self)._config_changed(change)

    @validate("listen")
    def _check_listen(self, proposal: dict[str, Any]) -> str:
        parse_listen(proposal["value"])
        return str(proposal["value"])


class Defaults(Configurable):
    """Sandbox limits where neither the kernelspec nor the request sets one."""

    cpu_limit = PositiveFloat(1.0, help="CPU time of a sandbox, in cores: 0.5 is half a core.").tag(
        config=True, applies=NEW_SANDBOXES
    )
    mem_limit_mb = Int(
        512,
        min=128,
        help="Memory of a sandbox in MiB, files in its tmpfs included; there is no swap on top.",
    ).tag(config=True, applies=NEW_SANDBOXES)
    pids_limit = Int(256, min=32, help="Number of processes and threads in a sandbox, its guest included.").tag(
        config=True, applies=NEW_SANDBOXES
    )
    network_mode = Enum(
        ["none", "bridge"],
        default_value="none",
        help="Network of a sandbox: none, no network at all; bridge, the internet, but neither the host, private "
        "networks nor other sandboxes.",
    ).tag(config=True)
    readonly_rootfs = Bool(
        True, help="Whether the image is read-only inside; /workspace, /tmp and the home directory stay writable."
    ).tag(config=True, applies=NEW_SANDBOXES)
    max_exec_timeout_ms = Int(
        300_000,
        min=1,
        max=600_000,
        help="Longest timeout of an execution over /v1, in milliseconds; cells over a WebSocket have no limit.",
    ).tag(config=True, applies=AT_ONCE)


class PoolSettings(LoggingConfigurable):
    """The warm kernels that wait for a claim."""

    settings_name = "Pool"

    enabled = Bool(True, help="Whether to keep warm kernels. If false, each kernel starts when it is requested.").tag(
        config=True, applies=AT_ONCE
    )
    images = Dict(
        key_trait=Unicode(),
        value_trait=Integer(min=0),
        default_value={"python": 2},
        help="Number of warm kernels to keep, by image. An image with several kernelspecs keeps kernels of the first "
        "by name that does not say `pool: false`. The default keeps as many as max_sandboxes leaves room for.",
    ).tag(config=True, applies=AT_ONCE)
    max_starting = Integer(2, min=1, help="Number of sandboxes that start at the same time.").tag(
        config=True, applies=AT_ONCE
    )
    refill_delay_seconds = Float(
        0.3,
        min=0,
        help="Seconds after a claim during which the pool starts nothing, so that the claimed kernel has the CPU.",
    ).tag(config=True, applies=AT_ONCE)


class WorkspaceSettings(Configurable):
    """Storage of workspaces, and /workspace in a session without a named one."""

    ephemeral = Enum(
        ["tmpfs", "disk"],
        default_value="tmpfs",
        help="Place for the files of a session without a named workspace: tmpfs, in its memory; disk, below data_dir, "
        "up to limits.workspace_mb. They are deleted with the session.",
    ).tag(config=True)
    ephemeral_mb = Int(
        0, min=0, help="Size of that tmpfs in MiB, at most half of the memory; 0 means a quarter of the memory."
    ).tag(config=True)
    disk = Enum(
        ["directory", "image"],
        default_value="directory",
        help="Kind of a new workspace on the disk: directory, below data_dir and measured by the gateway; image, a "
        "file system of limits.workspace_mb in a file, which cannot grow (needs root).",
    ).tag(config=True)
    persist_by_default = Bool(
        False,
        help="Whether a session that names no workspace gets a new persistent one; `workspace_id` in the answer names "
        "it.",
    ).tag(config=True, applies=NEW_SESSIONS)


class Limits(Configurable):
    """Limits of the whole gateway."""

    max_sandboxes = Int(64, min=1, help="Number of sandboxes at once: in use, warm and starting.").tag(
        config=True, applies=AT_ONCE
    )
    host_reserve_mb = Int(
        1024, min=64, help="Memory in MiB that all sandboxes together leave to the host, whatever each one may use."
    ).tag(config=True)
    max_sessions_per_owner = Int(64, min=1, help="Number of sessions and kernels that one owner may have at once.").tag(
        config=True, applies=AT_ONCE
    )
    max_concurrent_execs = Int(64, min=1, help="Number of executions over /v1 at once, waiting ones included.").tag(
        config=True, applies=AT_ONCE
    )
    max_output_bytes = Int(
        2 * 1024 * 1024,
        min=1024,
        help="Bytes of output in the answer to a blocking execution, for each stream; longer output keeps its head and "
        "tail.",
    ).tag(config=True, applies=AT_ONCE)
    max_upload_bytes = Int(1024 * 1024 * 1024, min=1024, help="Bytes of one uploaded file or archive.").tag(
        config=True, applies=AT_ONCE
    )
    workspace_mb = Int(
        10_240,
        min=1,
        help="Size of a workspace on the disk in MiB, named or not; above it the gateway stops whatever runs in its "
        "sessions.",
    ).tag(config=True, applies="at once; with workspace.disk: image after a restart")
    min_free_disk_mb = Int(
        512, min=0, help="MiB that must be free on the disk of data_dir; below it new sessions get a 503."
    ).tag(config=True, applies=AT_ONCE)
    max_mem_limit_mb = Int(
        4096, min=128, help="Memory in MiB that a request may ask for; never more than the machine has."
    ).tag(config=True, applies=AT_ONCE)
    max_cpu_limit = PositiveFloat(
        4.0, help="CPU time in cores that a request may ask for; never more than the machine has."
    ).tag(config=True, applies=AT_ONCE)


SECTIONS: Sections = {
    "": RootSettings,
    "defaults": Defaults,
    "pool": PoolSettings,
    "workspace": WorkspaceSettings,
    "limits": Limits,
}
"""The sections of the file, in the order of the reference."""
