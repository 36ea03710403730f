"""DockerHost: what all sandboxes of one gateway share on the engine's host, a memory limit and a network.

Every method blocks and calls the engine. The gateway needs no root for it, only permission to use the engine.
"""

from __future__ import annotations

import contextlib
import json
import logging
import secrets
from pathlib import Path
from typing import Any

from docker.errors import ImageNotFound

from ...errors import ConfigError, EngineError
from ...images import STANDARD, build_command, full_name
from ..host.firewall import bridge_name, firewall, network_name, no_firewall, resolvers, table_name
from .spec import INSTANCE_LABEL, PYTHON

__all__ = ["SCRIPT_PREFIX", "DockerHost"]

SCRIPT = Path(__file__).with_name("host_helper.py")
SCRIPT_PREFIX = "host-helper-"
"""Files in the run directory that begin so are copies of the script, for one container each."""
SCRIPT_INSIDE = "/run/sandkasten-host-helper"

LEAST_MEMORY_MB = 256


class DockerHost:
    """The parent cgroup and the bridge network of a gateway's sandboxes.

    The host's settings are changed by `host_helper`, as root, with the Python of a standard image: never of a custom
    image, because packages can replace it there. Raises `EngineError` without a standard image.

    Parameters
    ----------
    api: docker-py's low-level client.
    run_dir: a directory of the gateway's own that the engine can mount.
    reserve_mb: memory in MiB of the host that the sandboxes together may not use.
    bridge: whether some sandboxes have a network.
    """

    def __init__(
        self, api: Any, instance: str, run_dir: Path, *, reserve_mb: int, bridge: bool, log: logging.Logger
    ) -> None:
        info = api.info()
        self._api = api
        self._instance = instance
        self._run_dir = run_dir
        self.image = _image_of_ours(api)
        self._bridge = bridge
        self._log = log
        self._systemd = info.get("CgroupDriver") == "systemd"
        self._memory_mb = info["MemTotal"] // 2**20 - reserve_mb
        if self._memory_mb < LEAST_MEMORY_MB:
            raise ConfigError(
                f"limits.host_reserve_mb: {reserve_mb} of the engine's {info['MemTotal'] // 2**20} MiB leave less than "
                f"{LEAST_MEMORY_MB} MiB to the sandboxes"
            )

    @property
    def has_network(self) -> bool:
        """Whether some sandboxes have a network, and so need packet rules."""
        return self._bridge

    @property
    def cgroup(self) -> str:
        """The parent cgroup of all sandboxes, in the form of the engine's ``CgroupParent``."""
        return f"sandkasten-{self._instance}.slice" if self._systemd else f"/sandkasten-{self._instance}"

    def setup(self) -> None:
        """Create the network and set the memory limit. Raises `EngineError` if the network would not be safe."""
        if self._network_is_used():  # by sandboxes of an earlier process
            self._bridge = True
        else:
            self._remove_network()
            if self._bridge:
                self._api.create_network(**_network_config(self._instance), labels={INSTANCE_LABEL: self._instance})
        if self._bridge:
            self.load_rules()
        if self._systemd:
            self._log.warning(
                "the engine's cgroups are systemd's: keep memory for the host with "
                "'systemctl set-property sandkasten.slice MemoryMax=%dM'",
                self._memory_mb,
            )
            return
        try:
            self._run(cgroup=self.cgroup.strip("/"), memory_bytes=self._memory_mb * 2**20)
        except EngineError as error:
            self._log.warning("the memory of all sandboxes together has no limit: %s", error.message)

    def load_rules(self) -> bool:
        """Load the packet rules of the network; return whether they were missing."""
        rules, table = firewall(self._instance, resolvers()), table_name(self._instance)
        return self._run(rules=rules, table=table).startswith("missing")

    def cleanup(self) -> None:
        """Remove network, rules and cgroup; no sandbox may be left."""
        self._remove_network()
        gone = None if self._systemd else self.cgroup.strip("/")
        # parent="": a cgroup cannot be removed while the helper's container is in it.
        self._run(rules=no_firewall(self._instance) if self._bridge else None, gone=gone, parent="")

    def _network_is_used(self) -> bool:
        return any(self._api.inspect_network(network)["Containers"] for network in self._networks())

    def _remove_network(self) -> None:
        for network in self._networks():
            self._api.remove_network(network)

    def _networks(self) -> list[str]:
        found = self._api.networks(filters={"label": f"{INSTANCE_LABEL}={self._instance}"})
        return [network["Id"] for network in found]

    def _run(self, parent: str | None = None, **request: Any) -> str:
        """Run `host_helper` in a container, and return its output. Raises `EngineError` with its message."""
        # a file that the container mounts: as an argument, `ps` would show all of the source
        script = self._run_dir / f"{SCRIPT_PREFIX}{secrets.token_hex(8)}.py"
        try:
            try:
                script.write_text(SCRIPT.read_text())
            except OSError as error:
                # a full disk must not end the firewall's keeper or the stop, which expect the engine's errors alone
                raise EngineError(f"{script.parent}: cannot be written: {error.strerror}") from error
            return self._run_script(script, parent, request)
        finally:
            with contextlib.suppress(OSError):  # the sweep at the next start removes one that stays
                script.unlink()

    def _run_script(self, script: Path, parent: str | None, request: dict[str, Any]) -> str:
        container = self._api.create_container_from_config(
            {
                "Image": self.image,
                "User": "0:0",
                "Entrypoint": [PYTHON, "-I", SCRIPT_INSIDE],
                "Cmd": [json.dumps(request)],
                "Labels": {INSTANCE_LABEL: self._instance},
                "HostConfig": {
                    "NetworkMode": "host",
                    "CgroupnsMode": "host",
                    # The engine makes the cgroup for its first container, which is this one; the script then limits it.
                    "CgroupParent": self.cgroup if parent is None else parent,
                    "CapDrop": ["ALL"],
                    # NET_ADMIN for nft, SYS_CHROOT for the host's own nft below /host.
                    "CapAdd": ["NET_ADMIN", "SYS_CHROOT", "DAC_OVERRIDE"],
                    "SecurityOpt": ["no-new-privileges"],
                    "ReadonlyRootfs": True,
                    "Binds": ["/:/host:ro", "/sys/fs/cgroup:/cgroup:rw"],
                    "Mounts": [{"Type": "bind", "Source": str(script), "Target": SCRIPT_INSIDE, "ReadOnly": True}],
                },
            }
        )["Id"]
        try:
            self._api.start(container)
            code = self._api.wait(container)["StatusCode"]
            output: bytes = self._api.logs(container, tail=5)
        finally:
            self._api.remove_container(container, force=True)
        said = output.decode("utf-8", "replace").strip()[:400]
        if code:
            raise EngineError(f"the engine's host cannot be prepared: {said}")
        return said


def _image_of_ours(api: Any) -> str:
    for image in map(full_name, STANDARD):
        with contextlib.suppress(ImageNotFound):
            api.inspect_image(image)
            return image
    image = full_name(STANDARD[0])
    raise EngineError(f"there is no image {image}, which prepares the engine's host: run '{build_command(image)}'")


def _network_config(instance: str) -> dict[str, Any]:
    """Return the arguments of docker-py's ``create_network``."""
    return {
        "name": network_name(instance),
        "driver": "bridge",
        "options": {
            "com.docker.network.bridge.name": bridge_name(instance),
            "com.docker.network.bridge.enable_icc": "false",
        },
        "enable_ipv6": False,
    }
