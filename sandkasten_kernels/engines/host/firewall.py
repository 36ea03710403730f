"""The network of sandboxes whose ``network_mode`` is ``bridge``: the internet, and nothing that is near.

Sandboxes share one bridge without traffic between them. A table of the host's packet filter, of the gateway's own,
refuses what they send to the host itself, to link-local addresses (where clouds keep their metadata) and to private
networks. It stands beside whatever firewall there is: a packet must pass both.
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
"""Private, shared, link-local, benchmarking, multicast and reserved addresses (RFC 6890), and where Azure has what
other clouds have at a link-local one. Addresses for documentation are nobody's, and not among them."""

REFUSE = "reject with icmpx admin-prohibited"
"""Said at once, so that nobody waits for a time-out."""

_RESOLV_CONF = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))


def network_name(instance: str) -> str:
    """Return what the engine calls the network of a gateway."""
    return f"sandkasten-{instance}"


def bridge_name(instance: str) -> str:
    """Return the host's interface of that network: 15 characters, the most that Linux allows."""
    return f"sk-{instance[:12]}"


def table_name(instance: str) -> str:
    """Return the table of the host's packet filter in which the rules are, with its family."""
    return f"inet sandkasten_{instance}"


def firewall(instance: str, name_servers: list[str]) -> str:
    """Return the rules, for ``nft -f``, that replace those that may be there.

    Parameters
    ----------
    name_servers: IPv4 addresses of the host's resolvers; near ones stay reachable, on port 53 alone.
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
        f'    oifname "{bridge}" ct state new drop\n'
        f'    iifname "{bridge}" meta nfproto ipv6 {REFUSE}\n'
        f"{''.join(dns)}"
        f'    iifname "{bridge}" ip daddr {{ {", ".join(NEAR)} }} {REFUSE}\n'
        "  }\n"
        "}\n"
    )


def no_firewall(instance: str) -> str:
    """Return the rules, for ``nft -f``, that take the gateway's table away, whether or not it is there."""
    return f"table {table_name(instance)}\ndelete table {table_name(instance)}\n"


def resolvers() -> list[str]:
    """Return the IPv4 addresses of the resolvers that the engine gives to sandboxes, none on loopback.

    As Docker does: where ``/etc/resolv.conf`` has only the local stub of systemd, those behind it.
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
