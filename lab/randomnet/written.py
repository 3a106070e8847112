"""The lab's blocks as parts of a random network's items: lines for iproute2."""

from __future__ import annotations

from typing import Any

from lab.blocks import Block, Bridge, Veth, Vxlan, Way
from lab.rtnl import RT_SCOPE_HOST, RT_SCOPE_LINK

_SCOPES = {RT_SCOPE_HOST: " scope host", RT_SCOPE_LINK: " scope link"}


def written(*blocks: Block) -> dict[str, Any]:
    """Write blocks as an item's fields."""
    lines: dict[str, list[str]] = {"ip4": [], "ip6": [], "bridge": []}
    sysctls: dict[str, str] = {}
    for block in blocks:
        _write(block, lines)
        sysctls |= {name: str(value) for name, value in block.sysctls.items()}
    fields: dict[str, Any] = {**lines, "sysctls": sysctls}
    return {name: value for name, value in fields.items() if value}


def _write(block: Block, lines: dict[str, list[str]]) -> None:
    for link in block.links:
        lines["ip4"] += _link(link)
    lines["ip4"] += [f"link set {dev} up" for dev in block.up]
    for dev, cidr in block.addrs:
        lines[_family(cidr)].append(f"addr add {cidr} dev {dev}{' nodad' if ':' in cidr else ''}")
    for way in block.gone:
        lines[_family(way.dst)].append(f"route del {_way(way)}")
    for dev, addr, mac in block.neighs:
        lines[_family(addr)].append(f"neigh add {addr} lladdr {mac} dev {dev} nud permanent")
    for dev, mac, host in block.remotes:
        lines["bridge"].append(f"fdb append {mac} dev {dev} dst {host} self permanent")
    for way in block.ways:
        lines[_family(way.dst)].append(f"route add {_way(way)}")


def _family(address: str) -> str:
    return "ip6" if ":" in address else "ip4"


def _way(way: Way) -> str:
    found = ["default" if way.dst in ("0.0.0.0/0", "::/0") else way.dst]
    found += [
        f"{word} {value}" for word, value in (("via", way.via), ("dev", way.dev), ("src", way.src)) if value
    ]
    scope = "" if ":" in way.dst or way.scope is None else _SCOPES[way.scope]
    return " ".join(found) + (" onlink" if way.onlink else "") + scope


def _master(link: Veth | Vxlan) -> str:
    return f" master {link.master}" if link.master else ""


def _link(link: Bridge | Veth | Vxlan) -> list[str]:
    match link:
        case Bridge():
            return [
                f"link add {link.name} address {link.mac} type bridge forward_delay 0",
                f"link set {link.name} up",
            ]
        case Veth():
            own = f" address {link.mac}" if link.mac else ""
            mtu = f" mtu {link.mtu}" if link.mtu else ""
            made = f"link add {link.name}{own}{mtu} type veth peer name eth0"
            lines = [f"{made} address {link.peer_mac}{mtu} netns {link.place}"]
            lines.append(f"link set {link.name}{_master(link)} up")
            if link.hairpin:
                lines.append(f"link set {link.name} type bridge_slave hairpin on")
            return lines
        case Vxlan():
            mtu = f" mtu {link.mtu}" if link.mtu else ""
            return [
                f"link add {link.name}{mtu} address {link.mac} type vxlan id {link.vni} dstport {link.port} "
                f"{'' if link.learning else 'no'}learning local {link.local} dev {link.lower}{link.more}",
                f"link set {link.name}{_master(link)} up",
            ]
