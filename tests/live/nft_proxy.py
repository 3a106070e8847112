"""nftables rulesets for tests, as kube-proxy writes them in nftables mode, for the pods of a lab cluster."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterable, Sequence

import msgspec

MARK = "0x4000"


class NftService(msgspec.Struct, frozen=True):
    """A service with one port. `local` are the endpoints on the node of the ruleset, as in `endpoints`.

    With `local_only`, traffic from outside goes to local endpoints alone (externalTrafficPolicy: Local).
    """

    name: str
    addr: str
    port: int
    endpoints: tuple[str, ...]
    proto: str = "tcp"
    port_name: str = "http"
    node_port: int = 0
    external: str = ""
    sources: str = ""
    affinity: bool = False
    local_only: bool = False
    local: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """NAMESPACE/NAME/PROTOCOL/PORT, as chains have it."""
        return f"{self.name}/{self.proto}/{self.port_name}"

    def chain(self, kind: str) -> str:
        """The name of one of its chains: service, external, firewall."""
        return f"{kind}-{_hash(self.title)}-{self.title}"

    def endpoint(self, kind: str, endpoint: str) -> str:
        """The name of the chain or set of an endpoint: endpoint, affinity."""
        written = endpoint.replace("[", "").replace("]", "")
        addr, _, port = written.rpartition(":")
        return f"{kind}-{_hash(self.title + endpoint)}-{self.title}__{addr.replace(':', '.')}/{port}"

    @property
    def outside(self) -> tuple[str, ...]:
        """The endpoints for traffic from outside."""
        return self.local if self.local_only else self.endpoints


def _hash(text: str) -> str:
    return base64.b32encode(hashlib.sha256(text.encode()).digest()).decode()[:8]


def ruleset(
    services: Sequence[NftService],
    node_ips: Sequence[str],
    pod_cidr: str,
    service_cidr: str,
    family: str = "ip",
) -> str:
    """Write the whole table."""
    parts = [*_sets(services, node_ips, family), *_fixed(family, service_cidr)]
    for service in services:
        if service.endpoints:
            parts += _service(service, pod_cidr, family)
    body = "\n".join(parts)
    return f"table {family} kube-proxy {{\n{body}\n}}\n"


def _block(kind: str, name: str, lines: Iterable[str]) -> str:
    return f"{kind} {name} {{\n" + "\n".join(f"  {line}" for line in lines) + "\n}"


def _elements(entries: Iterable[str]) -> list[str]:
    joined = ", ".join(entries)
    return [f"elements = {{ {joined} }}"] if joined else []


def _sets(services: Sequence[NftService], node_ips: Sequence[str], family: str) -> list[str]:
    addr = "ipv4_addr" if family == "ip" else "ipv6_addr"
    ips, ports, none_ips, none_ports, firewalls = [], [], [], [], []
    for one in services:
        at, reached = f"{one.proto} . {one.port}", one.chain("external")
        refuse = f'comment "{one.name}:{one.port_name}" : '
        if one.endpoints:
            ips.append(f"{one.addr} . {at} : goto {one.chain('service')}")
            ips += [f"{one.external} . {at} : goto {reached}"] if one.external else []
            ports += [f"{one.proto} . {one.node_port} : goto {reached}"] if one.node_port else []
            verdict = "drop"
        else:
            none_ips.append(f"{one.addr} . {at} {refuse}goto reject-chain")
            verdict = "goto reject-chain"
        if not one.outside:
            none_ips += [f"{one.external} . {at} {refuse}{verdict}"] if one.external else []
            none_ports += [f"{one.proto} . {one.node_port} {refuse}{verdict}"] if one.node_port else []
        if one.sources and one.external:
            firewalls.append(f"{one.external} . {at} : goto {one.chain('firewall')}")
    by_addr = f"type {addr} . inet_proto . inet_service : verdict"
    by_port = "type inet_proto . inet_service : verdict"
    return [
        _block("set", "cluster-ips", [f"type {addr}", *_elements({s.addr: None for s in services})]),
        _block("set", "nodeport-ips", [f"type {addr}", *_elements(node_ips)]),
        _block("map", "service-ips", [by_addr, *_elements(ips)]),
        _block("map", "service-nodeports", [by_port, *_elements(ports)]),
        _block("map", "no-endpoint-services", [by_addr, *_elements(none_ips)]),
        _block("map", "no-endpoint-nodeports", [by_port, *_elements(none_ports)]),
        _block("map", "firewall-ips", [by_addr, *_elements(firewalls)]),
        *(
            _block(
                "set",
                one.endpoint("affinity", endpoint),
                [f"type {addr}", "flags dynamic,timeout", "timeout 10800s"],
            )
            for one in services
            if one.affinity
            for endpoint in one.endpoints
        ),
    ]


def _fixed(family: str, service_cidr: str) -> list[str]:
    """The chains that don't depend on services."""
    checks = ["ct state new jump service-endpoints-check", "ct state new jump cluster-ips-check"]
    chains: dict[str, list[str]] = {
        "filter-prerouting-pre-dnat": [
            "type filter hook prerouting priority -110",
            "ct state new jump firewall-check",
        ],
        "filter-output-pre-dnat": [
            "type filter hook output priority -110",
            "ct state new jump firewall-check",
        ],
        "filter-forward": ["type filter hook forward priority 0", *checks],
        "filter-input": [
            "type filter hook input priority 0",
            "ct state new jump nodeport-endpoints-check",
            "ct state new jump service-endpoints-check",
        ],
        "filter-output": ["type filter hook output priority 0", *checks],
        "nat-prerouting": ["type nat hook prerouting priority -100", "jump services"],
        "nat-output": ["type nat hook output priority -100", "jump services"],
        "nat-postrouting": ["type nat hook postrouting priority 100", "jump masquerading"],
        "services": [
            f"{family} daddr . meta l4proto . th dport vmap @service-ips",
            f"{family} daddr @nodeport-ips meta l4proto . th dport vmap @service-nodeports",
        ],
        "masquerading": [
            f"mark and {MARK} == 0 return",
            f"mark set mark xor {MARK}",
            "masquerade fully-random",
        ],
        "mark-for-masquerade": [f"mark set mark or {MARK}"],
        "reject-chain": ["reject"],
        "firewall-check": [f"{family} daddr . meta l4proto . th dport vmap @firewall-ips"],
        "service-endpoints-check": [f"{family} daddr . meta l4proto . th dport vmap @no-endpoint-services"],
        "nodeport-endpoints-check": [
            f"{family} daddr @nodeport-ips meta l4proto . th dport vmap @no-endpoint-nodeports"
        ],
        "cluster-ips-check": [
            f'{family} daddr @cluster-ips reject comment "Reject traffic to invalid ports of ClusterIPs"',
            f'{family} daddr {{ {service_cidr} }} drop comment "Drop traffic to unallocated ClusterIPs"',
        ],
    }
    return [
        _block("chain", name, [line + ";" if line.startswith("type ") else line for line in lines])
        for name, lines in sorted(chains.items(), key=lambda item: item[1][0].startswith("type "))
    ]


def _service(service: NftService, pod_cidr: str, family: str) -> list[str]:
    """The chains of one service: its endpoints', its own, and that for traffic from outside."""
    made = [_endpoint(service, endpoint, family) for endpoint in service.endpoints]
    inside = [f"{family} daddr {service.addr} {family} saddr != {pod_cidr} jump mark-for-masquerade"]
    made.append(
        _block("chain", service.chain("service"), [*inside, *_choose(service, service.endpoints, family)])
    )
    if service.node_port or service.external:
        made.append(_block("chain", service.chain("external"), _external(service, pod_cidr, family)))
    if service.sources:
        lines = [f"{family} saddr != {{ {service.sources} }} drop"]
        made.append(_block("chain", service.chain("firewall"), lines))
    return made


def _endpoint(service: NftService, endpoint: str, family: str) -> str:
    addr = endpoint.rpartition(":")[0].strip("[]")
    lines = [f"{family} saddr {addr} jump mark-for-masquerade"]
    if service.affinity:
        lines.append(f"update @{service.endpoint('affinity', endpoint)} {{ {family} saddr }}")
    lines.append(f"meta l4proto {service.proto} dnat to {endpoint}")
    return _block("chain", service.endpoint("endpoint", endpoint), lines)


def _choose(service: NftService, endpoints: Sequence[str], family: str) -> list[str]:
    """Who has been here goes to the same endpoint; others to one at random."""
    lines = []
    if service.affinity:
        lines += [
            f"{family} saddr @{service.endpoint('affinity', one)} goto {service.endpoint('endpoint', one)}"
            for one in endpoints
        ]
    if endpoints:
        choices = ", ".join(
            f"{n} : goto {service.endpoint('endpoint', one)}" for n, one in enumerate(endpoints)
        )
        lines.append(f"numgen random mod {len(endpoints)} vmap {{ {choices} }}")
    return lines


def _external(service: NftService, pod_cidr: str, family: str) -> list[str]:
    inside = service.chain("service")
    if not service.local_only:
        return ["jump mark-for-masquerade", f"goto {inside}"]
    return [
        f'{family} saddr {pod_cidr} goto {inside} comment "short-circuit pod traffic"',
        'fib saddr type local jump mark-for-masquerade comment "masquerade local traffic"',
        f'fib saddr type local goto {inside} comment "short-circuit local traffic"',
        *_choose(service, service.local, family),
    ]
