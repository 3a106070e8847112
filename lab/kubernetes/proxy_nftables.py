"""kube-proxy's table in nftables mode, for one node and address family.

Base chains jump to `services`, which finds service-HASH-... or external-HASH-... by verdict maps; those
choose an endpoint by `numgen`. What carries the mark 0x4000 is masqueraded, and what comes back to the
endpoint that sent it (`hairpin-connections`). The whole table is written anew in one transaction.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence
from pathlib import Path

from lab import nft
from lab.kubernetes.ports import Endpoint, ServicePort

MARK = "0x4000"
_MASQUERADE = f"mark set mark or {MARK}"


def write(
    netns: Path, family: int, node: str, node_ip: str, pods: str, services: str, ports: Sequence[ServicePort]
) -> None:
    """Replace the table. `pods` and `services` are the cluster's ranges."""
    ip = "ip6" if family == 6 else "ip"
    body = table(node, node_ip, pods, services, ports, ip)
    nft.apply(netns, f"add table {ip} kube-proxy\ndelete table {ip} kube-proxy\n{body}")


def table(node: str, node_ip: str, pods: str, services: str, ports: Sequence[ServicePort], ip: str) -> str:
    """Write the table of a node."""
    parts = [*_sets(node, node_ip, ports, ip), *_fixed(pods, services, ip)]
    for port in ports:
        parts += _service(port, node, pods, ip)
        if port.guarded_ips:
            taken = ", ".join(port.taken(node_ip))
            parts.append(_block("chain", _name("firewall", port), [f"{ip} saddr != {{ {taken} }} drop"]))
    return f"table {ip} kube-proxy {{\n" + "\n".join(parts) + "\n}\n"


def _block(kind: str, name: str, lines: Iterable[str]) -> str:
    return f"{kind} {name} {{\n" + "\n".join(f"  {line}" for line in lines) + "\n}"


def _elements(entries: Iterable[str]) -> list[str]:
    joined = ", ".join(dict.fromkeys(entries))
    return [f"elements = {{ {joined} }}"] if joined else []


def _name(kind: str, port: ServicePort, endpoint: Endpoint | None = None) -> str:
    """Name a chain or set as kube-proxy does, by a digest and by what it is for."""
    what = f"{port.namespace}/{port.name}/{port.proto}/{port.port_name}"
    if endpoint is not None:
        addr = endpoint.addr.replace(":", ".")
        what = f"{what}__{addr}/{endpoint.port}"
    digest = base64.b32encode(hashlib.sha256(what.encode()).digest()).decode()[:8]
    return f"{kind}-{digest}-{what}"


def _sets(node: str, node_ip: str, ports: Sequence[ServicePort], ip: str) -> list[str]:
    addr = "ipv6_addr" if ip == "ip6" else "ipv4_addr"
    by_addr = f"type {addr} . inet_proto . inet_service : verdict"
    by_port = "type inet_proto . inet_service : verdict"
    inside, by_node, none_inside, none_by_node = _maps(node, ports)
    hairpins = [
        f"{one.addr} . {one.addr} . {port.proto} . {one.port}" for port in ports for one in port.local(node)
    ]
    firewalls = [
        f'{address} . {port.proto} . {port.port} comment "{port.title}" : goto {_name("firewall", port)}'
        for port in ports
        for address in port.guarded_ips
    ]
    sticky = [
        _block(
            "set",
            _name("affinity", port, one),
            [f"type {addr}", "flags dynamic,timeout", f"timeout {port.affinity_s}s"],
        )
        for port in ports
        if port.affinity_s
        for one in dict.fromkeys(port.endpoints)
    ]
    return [
        _block(
            "set",
            "hairpin-connections",
            [f"type {addr} . {addr} . inet_proto . inet_service", *_elements(hairpins)],
        ),
        _block("set", "cluster-ips", [f"type {addr}", *_elements(port.cluster_ip for port in ports)]),
        _block("set", "nodeport-ips", [f"type {addr}", *_elements([node_ip])]),
        _block("map", "no-endpoint-services", [by_addr, *_elements(none_inside)]),
        _block("map", "no-endpoint-nodeports", [by_port, *_elements(none_by_node)]),
        _block("map", "firewall-ips", [by_addr, *_elements(firewalls)]),
        _block("map", "service-ips", [by_addr, *_elements(inside)]),
        _block("map", "service-nodeports", [by_port, *_elements(by_node)]),
        *sticky,
    ]


def _maps(node: str, ports: Sequence[ServicePort]) -> tuple[list[str], list[str], list[str], list[str]]:
    """List the elements of the maps by address and by port: those that lead on, and those that refuse."""
    inside: list[str] = []
    by_node: list[str] = []
    none_inside: list[str] = []
    none_by_node: list[str] = []
    for port in ports:
        at, own = f"{port.proto} . {port.port}", f"{port.proto} . {port.node_port}"
        refuse = f'comment "{port.title}" : ' + ("drop" if port.endpoints else "goto reject-chain")
        external = f"goto {_name('external', port)}"
        outer = [*port.external_ips, *port.balancer_ips]
        if port.inside(node):
            chain = _name("local" if port.internal_local else "service", port)
            inside.append(f"{port.cluster_ip} . {at} : goto {chain}")
        else:
            none_inside.append(f"{port.cluster_ip} . {at} {refuse}")
        if port.endpoints:
            inside += [f"{address} . {at} : {external}" for address in outer]
            by_node += [f"{own} : {external}"] if port.node_port else []
        if not port.outside(node):
            none_inside += [f"{address} . {at} {refuse}" for address in outer]
            none_by_node += [f"{own} {refuse}"] if port.node_port else []
    return inside, by_node, none_inside, none_by_node


def _fixed(pods: str, services: str, ip: str) -> list[str]:
    """Write the chains that don't depend on services."""
    new = "ct state new jump"
    outside = 'comment "masquerade clusterIP traffic from outside cluster"'
    bases = {
        "filter-prerouting-pre-dnat": ("filter hook prerouting priority -110", [f"{new} firewall-check"]),
        "filter-output-pre-dnat": ("filter hook output priority -110", [f"{new} firewall-check"]),
        "filter-input": (
            "filter hook input priority 0",
            [f"{new} nodeport-endpoints-check", f"{new} service-endpoints-check"],
        ),
        "filter-forward": (
            "filter hook forward priority 0",
            [f"{new} service-endpoints-check", f"{new} cluster-ips-check"],
        ),
        "filter-output": (
            "filter hook output priority 0",
            [f"{new} service-endpoints-check", f"{new} cluster-ips-check"],
        ),
        "nat-prerouting": ("nat hook prerouting priority -100", ["jump services"]),
        "nat-output": ("nat hook output priority -100", ["jump services"]),
        "nat-postrouting": ("nat hook postrouting priority 100", ["jump masquerading"]),
    }
    chains: dict[str, list[str]] = {
        "nodeport-endpoints-check": [
            f"{ip} daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports"
        ],
        "service-endpoints-check": [f"{ip} daddr . meta l4proto . th dport vmap @no-endpoint-services"],
        "firewall-check": [f"{ip} daddr . meta l4proto . th dport vmap @firewall-ips"],
        "services": [
            f"{ip} daddr @cluster-ips {ip} saddr != {pods} {_MASQUERADE} {outside}",
            f"{ip} daddr . meta l4proto . th dport vmap @service-ips",
            f"{ip} daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports",
        ],
        "masquerading": [
            f"mark and {MARK} != 0 mark set mark xor {MARK} masquerade fully-random",
            f"ct status dnat {ip} saddr . {ip} daddr . meta l4proto . th dport @hairpin-connections"
            " masquerade fully-random",
        ],
        "cluster-ips-check": [
            f'{ip} daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"',
            f'{ip} daddr {services} drop comment "Drop traffic to unallocated ClusterIPs"',
        ],
        "reject-chain": ["reject"],
    }
    made = [_block("chain", name, lines) for name, lines in chains.items()]
    return made + [_block("chain", name, [f"type {hook};", *lines]) for name, (hook, lines) in bases.items()]


def _service(port: ServicePort, node: str, pods: str, ip: str) -> list[str]:
    """Write the chains of a port that has endpoints, those that are jumped to first."""
    if not port.endpoints:
        return []
    made = [_endpoint(port, one, ip) for one in dict.fromkeys(port.endpoints)] if port.affinity_s else []
    local, service = _name("local", port), _name("service", port)
    here = port.local(node)
    if here and (port.internal_local or (port.external_local and port.is_external)):
        made.append(_block("chain", local, _choose(port, here, ip)))
    if not port.internal_local or port.is_external:
        made.append(_block("chain", service, _choose(port, port.endpoints, ip)))
    if port.is_external:
        made.append(
            _block(
                "chain", _name("external", port), _external(port, pods, ip, service, local if here else "")
            )
        )
    return made


def _external(port: ServicePort, pods: str, ip: str, service: str, local: str) -> list[str]:
    """Write the chain for what comes from outside."""
    if not port.external_local:
        return [f'{_MASQUERADE} comment "masquerade"', f"goto {service}"]
    lines = [
        f'{ip} saddr {pods} goto {service} comment "short-circuit pod traffic"',
        f'fib saddr type local {_MASQUERADE} comment "masquerade local traffic"',
        f'fib saddr type local goto {service} comment "short-circuit local traffic"',
    ]
    return [*lines, f"goto {local}"] if local else lines


def _endpoint(port: ServicePort, endpoint: Endpoint, ip: str) -> str:
    lines = [
        f"update @{_name('affinity', port, endpoint)} {{ {ip} saddr }}",
        f"meta l4proto {port.proto} dnat to {endpoint.written}",
    ]
    return _block("chain", _name("endpoint", port, endpoint), lines)


def _choose(port: ServicePort, endpoints: Sequence[Endpoint], ip: str) -> list[str]:
    """Who has been at an endpoint before goes there again; others to one at random."""
    many = len(endpoints)
    if not port.affinity_s:
        choices = ", ".join(f"{n} : {one.addr} . {one.port}" for n, one in enumerate(endpoints))
        return [f"meta l4proto {port.proto} dnat {ip} to numgen random mod {many} map {{ {choices} }}"]
    again = [
        f"{ip} saddr @{_name('affinity', port, one)} goto {_name('endpoint', port, one)}" for one in endpoints
    ]
    choices = ", ".join(f"{n} : goto {_name('endpoint', port, one)}" for n, one in enumerate(endpoints))
    return [*again, f"numgen random mod {many} vmap {{ {choices} }}"]
