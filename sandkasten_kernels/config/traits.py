"""The sections `defaults`, `workspace` and `limits` of the configuration."""

from __future__ import annotations

from traitlets import Bool, Enum, Int
from traitlets.config import Configurable

from .validation import PositiveFloat

__all__ = ["Defaults", "Limits", "WorkspaceSettings"]


class Defaults(Configurable):
    """What a sandbox gets when its kernelspec and its caller ask for nothing else."""

    cpu_limit = PositiveFloat(1.0, help="CPU time of a sandbox, in cores: 0.5 is half of one.").tag(config=True)
    mem_limit_mb = Int(
        512,
        min=128,
        help="Memory of a sandbox with all that its tmpfs hold, in MiB; there is no swap on top.",
    ).tag(config=True)
    pids_limit = Int(256, min=32, help="Processes and threads in a sandbox, its own guest among them (a number).").tag(
        config=True
    )
    network_mode = Enum(
        ["none", "bridge"],
        default_value="none",
        help="What a sandbox can reach: none, nothing at all; bridge, the internet, but neither the host, private "
        "networks nor other sandboxes.",
    ).tag(config=True)
    readonly_rootfs = Bool(
        True, help="Whether the image is read-only inside; /workspace, /tmp and the home directory never are."
    ).tag(config=True)
    max_exec_timeout_ms = Int(
        300_000,
        min=1,
        max=600_000,
        help="How many milliseconds an execution over /v1 may take; cells over a WebSocket have no limit.",
    ).tag(config=True)


class WorkspaceSettings(Configurable):
    """What workspaces are made of, and what /workspace is in a session that names none."""

    ephemeral = Enum(
        ["tmpfs", "disk"],
        default_value="tmpfs",
        help="Where the files of a session without a named workspace are: tmpfs, in its memory; disk, below "
        "data_dir, up to limits.workspace_mb. They go with the session.",
    ).tag(config=True)
    ephemeral_mb = Int(
        0, min=0, help="Size of that tmpfs in MiB, at most half of the memory; 0: a quarter of the memory."
    ).tag(config=True)
    disk = Enum(
        ["directory", "image"],
        default_value="directory",
        help="What a new workspace on the disk is: directory, below data_dir, whose size is watched; image, a file "
        "system of limits.workspace_mb in a file, which cannot grow (the gateway must be root).",
    ).tag(config=True)
    persist_by_default = Bool(
        False, help="Whether a session that names no workspace gets a new one that stays; `workspace_id` names it."
    ).tag(config=True)


class Limits(Configurable):
    """Limits of the whole gateway."""

    max_sandboxes = Int(64, min=1, help="Sandboxes at once: in use, warm and starting (a number).").tag(config=True)
    host_reserve_mb = Int(
        1024, min=64, help="Memory in MiB that all sandboxes together leave to the host, whatever each of them may use."
    ).tag(config=True)
    max_sessions_per_owner = Int(64, min=1, help="Sessions and kernels that an owner may have at once (a number).").tag(
        config=True
    )
    max_concurrent_execs = Int(64, min=1, help="Executions over /v1 at once, those that wait too (a number).").tag(
        config=True
    )
    max_output_bytes = Int(
        2 * 1024 * 1024,
        min=1024,
        help="Bytes of text in the answer to a blocking execution, of each stream; of more, head and tail are kept.",
    ).tag(config=True)
    max_upload_bytes = Int(1024 * 1024 * 1024, min=1024, help="Bytes of a file, or an archive, that is uploaded.").tag(
        config=True
    )
    workspace_mb = Int(
        10_240,
        min=1,
        help="MiB that a workspace on the disk may have, named or not; what runs in its sessions is stopped above it.",
    ).tag(config=True)
    min_free_disk_mb = Int(
        512, min=0, help="MiB that must be free on the disk of data_dir, else no session is made (503)."
    ).tag(config=True)
    max_mem_limit_mb = Int(
        4096, min=128, help="Memory in MiB that a caller may ask for, for its session, as far as the machine has it."
    ).tag(config=True)
    max_cpu_limit = PositiveFloat(
        4.0, help="CPU time that a caller may ask for, for its session, in cores, as far as the machine has them."
    ).tag(config=True)
