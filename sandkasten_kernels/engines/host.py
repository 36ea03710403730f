"""What the engine's host does for all sandboxes of one gateway together: a share of its memory, and their network.

Every method blocks and asks the engine; a gateway need not be root for it, only allowed to use the engine.
"""

from __future__ import annotations

import json
import logging
from pathlib import Path
from typing import Any

from ..errors import ConfigError, EngineError
from ..image import full_name
from .container import INSTANCE_LABEL
from .network import firewall, network_config, no_firewall, resolvers

__all__ = ["Host"]

LEAST_MEMORY_MB = 256
PYTHON = "/opt/sandkasten/bin/python"


class Host:
    """The parent cgroup and the bridge network of a gateway's sandboxes.

    Parameters
    ----------
    api: docker-py's low-level client.
    image: an image with a guest; its Python runs what has to be run on the host.
    reserve_mb: memory in MiB that all sandboxes together leave to the host.
    bridge: whether there are sandboxes with a network.
    """

    def __init__(
        self, api: Any, instance: str, image: str, *, reserve_mb: int, bridge: bool, log: logging.Logger
    ) -> None:
        info = api.info()
        self._api = api
        self._instance = instance
        self._image = image
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
    def cgroup(self) -> str:
        """The cgroup that all sandboxes are under, as the engine's ``CgroupParent`` takes it."""
        return f"sandkasten-{self._instance}.slice" if self._systemd else f"/sandkasten-{self._instance}"

    def setup(self) -> None:
        """Make the network and bound the memory. Raises `EngineError` where a network would not be safe."""
        self._remove_network()
        if self._bridge:
            self._api.create_network(**network_config(self._instance), labels={INSTANCE_LABEL: self._instance})
            self.lay_rules()
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
            self._log.warning("the sandboxes' memory together is not bounded: %s", error.message)

    def lay_rules(self) -> None:
        """Put the packet rules of the network in place, whether they are there or were flushed."""
        self._run(rules=firewall(self._instance, resolvers()))

    def cleanup(self) -> None:
        """Take network, rules and cgroup away, when no sandbox is left."""
        self._remove_network()
        gone = None if self._systemd else self.cgroup.strip("/")
        self._run(rules=no_firewall(self._instance) if self._bridge else None, gone=gone, parent="")

    def _remove_network(self) -> None:
        for network in self._api.networks(filters={"label": f"{INSTANCE_LABEL}={self._instance}"}):
            self._api.remove_network(network["Id"])

    def _run(self, parent: str | None = None, **request: Any) -> None:
        """Run `host_script` and return when it has done its work. Raises `EngineError` in its words."""
        script = Path(__file__).with_name("host_script.py").read_text()
        container = self._api.create_container_from_config(
            {
                "Image": full_name(self._image),
                "User": "0:0",
                "Entrypoint": [PYTHON, "-I", "-c", script],
                "Cmd": [json.dumps(request)],
                "Labels": {INSTANCE_LABEL: self._instance},
                "HostConfig": {
                    "NetworkMode": "host",
                    "CgroupnsMode": "host",
                    "CgroupParent": self.cgroup if parent is None else parent,
                    "CapDrop": ["ALL"],
                    "CapAdd": ["NET_ADMIN", "SYS_CHROOT", "DAC_OVERRIDE"],
                    "SecurityOpt": ["no-new-privileges"],
                    "ReadonlyRootfs": True,
                    "Binds": ["/:/host:ro", "/sys/fs/cgroup:/cgroup:rw"],
                },
            }
        )["Id"]
        try:
            self._api.start(container)
            code = self._api.wait(container)["StatusCode"]
            output: bytes = self._api.logs(container, tail=5)
        finally:
            self._api.remove_container(container, force=True)
        if code:
            raise EngineError(
                f"the engine's host cannot be prepared: {output.decode('utf-8', 'replace').strip()[:400]}"
            )
