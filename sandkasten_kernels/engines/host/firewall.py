"""Packet rules for sandboxes with ``network_mode: bridge``: the internet, but neither the host nor private networks.

Sandboxes share one bridge, without traffic between them. The gateway has a table of its own in the host's packet
filter (nft); it rejects packets to the host, to link-local addresses (the metadata services of clouds) and to private
networks. Other firewalls of the host stay in force: a packet must pass both.
"""

from __future__ import annotations

import ipaddress
from pathlib import Path

__all__ = ["bridge_name", "firewall", "network_name", "no_firewall", "resolvers", "table_name"]

NEAR = (
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "168.63.129.16/32",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.168.0.0/16",
    "198.18.0.0/15",
    "224.0.0.0/3",
)
"""Private, shared, link-local, benchmarking, multicast and reserved addresses (RFC 6890), and the metadata service of
Azure. Addresses for documentation are not listed: nobody has them."""

REFUSE = "reject with icmpx admin-prohibited"
"""An answer, so that a program in the sandbox fails at once and not after a timeout."""

_RESOLV_CONF = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))


def network_name(instance: str) -> str:
    """Return the engine's name for the network of a gateway."""
    return f"sandkasten-{instance}"


def bridge_name(instance: str) -> str:
    """Return the name of the network's interface on the host: 15 characters, the limit of Linux."""
    return f"sk-{instance[:12]}"


def table_name(instance: str) -> str:
    """Return family and name of the table with the rules in the host's packet filter."""
    return f"inet sandkasten_{instance}"


def firewall(instance: str, name_servers: list[str]) -> str:
    """Return the rules as input of ``nft -f``; they replace the gateway's earlier ones in one transaction.

    Parameters
    ----------
    name_servers: IPv4 addresses of the host's resolvers; private ones stay reachable, on port 53 alone.
    """
    table, bridge = table_name(instance), bridge_name(instance)
    dns = [
        f'    iifname "{bridge}" ip daddr {server} {protocol} dport 53 accept\n'
        for server in name_servers
        for protocol in ("udp", "tcp")
    ]
    return (
        f"{no_firewall(instance)}"
        f"table {table} {{\n"
        "  chain input {\n"
        "    type filter hook input priority -10; policy accept;\n"
        f'    iifname "{bridge}" {REFUSE}\n'
        "  }\n"
        "  chain forward {\n"
        "    type filter hook forward priority -10; policy accept;\n"
        f'    iifname "{bridge}" oifname "{bridge}" drop\n'
        # Nobody connects to a sandbox; only answers to its own connections pass.
        f'    oifname "{bridge}" ct state new drop\n'
        # NEAR has IPv4 networks alone.
        f'    iifname "{bridge}" meta nfproto ipv6 {REFUSE}\n'
        # Before the next rule, which would reject a private resolver.
        f"{''.join(dns)}"
        f'    iifname "{bridge}" ip daddr {{ {", ".join(NEAR)} }} {REFUSE}\n'
        "  }\n"
        "}\n"
    )


def no_firewall(instance: str) -> str:
    """Return the input of ``nft -f`` that removes the gateway's table, whether or not it exists."""
    # `table` creates a missing one: nft fails at the deletion of a table that does not exist.
    return f"table {table_name(instance)}\ndelete table {table_name(instance)}\n"


def resolvers() -> list[str]:
    """Return the IPv4 addresses of the resolvers that the engine gives to sandboxes, without loopback ones.

    As Docker does: if ``/etc/resolv.conf`` names only the local stub of systemd, the resolvers behind it.
    """
    for path in _RESOLV_CONF:
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        words = [line.split() for line in lines if line.startswith("nameserver")]
        found = [server for _, server, *_ in (w for w in words if len(w) > 1) if _is_far_v4(server)]
        if found:
            return found
    return []


def _is_far_v4(text: str) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return address.version == 4 and not address.is_loopback
