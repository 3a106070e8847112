"""kube-proxy's rules in iptables mode, for one node and address family.

nat: PREROUTING and OUTPUT -> KUBE-SERVICES -> KUBE-SVC-HASH (a service) -> KUBE-SEP-HASH (an endpoint: DNAT);
what comes from outside -> KUBE-EXT-HASH; KUBE-SVL-HASH has the local endpoints alone. POSTROUTING masquerades
what carries the mark 0x4000. filter: rejects what has no endpoints, lets marked and answering packets be
forwarded.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from pathlib import Path

from lab import xtables
from lab.kubernetes.ports import Endpoint, ServicePort

MARK = "0x4000/0x4000"
OWN = ("KUBE-SVC-", "KUBE-SVL-", "KUBE-EXT-", "KUBE-FW-", "KUBE-SEP-")
Chains = dict[str, list[str]]

_NEW = "-m conntrack --ctstate NEW"
ACCOUNTS = ("ct_state_invalid_dropped_pkts", "localhost_nps_accepted_pkts")
# Where kube-proxy (and kubelet, with KUBE-FIREWALL) puts its chains before all that is there.
_HOOKS: dict[str, list[tuple[str, str]]] = {
    "nat": [
        ("PREROUTING", '-m comment --comment "kubernetes service portals" -j KUBE-SERVICES'),
        ("OUTPUT", '-m comment --comment "kubernetes service portals" -j KUBE-SERVICES'),
        ("POSTROUTING", '-m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING'),
    ],
    "filter": [
        ("INPUT", "-j KUBE-FIREWALL"),
        (
            "INPUT",
            f'{_NEW} -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES',
        ),
        ("INPUT", '-m comment --comment "kubernetes health check service ports" -j KUBE-NODEPORTS'),
        ("INPUT", f'{_NEW} -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL'),
        (
            "FORWARD",
            f'{_NEW} -m comment --comment "kubernetes externally-visible service portals" -j KUBE-EXTERNAL-SERVICES',
        ),
        ("FORWARD", f'{_NEW} -m comment --comment "kubernetes service portals" -j KUBE-SERVICES'),
        ("FORWARD", '-m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD'),
        (
            "FORWARD",
            f'{_NEW} -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL',
        ),
        ("OUTPUT", "-j KUBE-FIREWALL"),
        ("OUTPUT", f'{_NEW} -m comment --comment "kubernetes service portals" -j KUBE-SERVICES'),
        ("OUTPUT", f'{_NEW} -m comment --comment "kubernetes load balancer firewall" -j KUBE-PROXY-FIREWALL'),
    ],
}


def hook_in(netns: Path, family: int) -> None:
    """Lead the kernel's chains to kube-proxy's, and make its accounts."""
    for account in ACCOUNTS if family == 4 else ():
        xtables.run(netns, ["nfacct", "add", account])
    text = "".join(xtables.table(table, _hooked(table), _leading(table)) for table in _HOOKS)
    xtables.restore(netns, family, text)


def _hooked(table: str) -> list[str]:
    """Name the chains that the kernel's lead to."""
    return list(dict.fromkeys(rule.rpartition(" ")[2] for _, rule in _HOOKS[table]))


def _leading(table: str) -> list[str]:
    return [f"-I {hook} 1 {rule}" for hook, rule in _HOOKS[table]]


def whole(node: str, node_ip: str, pods: str, ports: Sequence[ServicePort], family: int) -> str:
    """Write all that a node without kube-proxy's rules gets, as one text for iptables-restore --noflush."""
    text = ""
    for table, chains in tables(node, node_ip, pods, ports, family).items():
        rules = [f"-A {chain} {rule}" for chain, lines in chains.items() for rule in lines]
        text += xtables.table(table, list(chains), [*rules, *(_leading(table) if table in _HOOKS else ())])
    return text


def write(netns: Path, family: int, node: str, node_ip: str, pods: str, ports: Sequence[ServicePort]) -> None:
    """Bring the chains up to date. `pods` is the range of the cluster's pods."""
    made = tables(node, node_ip, pods, ports, family)
    for table, chains in made.items():
        xtables.sync(netns, family, table, chains, OWN)


def tables(
    node: str, node_ip: str, pods: str, ports: Sequence[ServicePort], family: int
) -> dict[str, Chains]:
    """Return every table's chains: chain -> its rules without "-A CHAIN"."""
    nat, filters = _fixed_nat(), _fixed_filter(family)
    for port in ports:
        _add(port, node, pods, nat, filters)
        if port.guarded_ips and port.endpoints:
            _guard(port, node_ip, nat, filters)
    last = (
        '-m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule in this chain" '
        "-m addrtype --dst-type LOCAL -j KUBE-NODEPORTS"
    )
    nat["KUBE-SERVICES"].append(f"! -d ::1/128 {last}" if family == 6 else last)
    return {"nat": nat, "filter": filters, "mangle": {"KUBE-PROXY-CANARY": []}}


def _fixed_nat() -> Chains:
    snat = '-m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE --random-fully'
    return {
        "KUBE-PROXY-CANARY": [],
        "KUBE-SERVICES": [],
        "KUBE-NODEPORTS": [],
        "KUBE-POSTROUTING": [
            f"-m mark ! --mark {MARK} -j RETURN",
            "-j MARK --set-xmark 0x4000/0x0",
            snat,
        ],
        "KUBE-MARK-MASQ": [f"-j MARK --set-xmark {MARK}"],
    }


def _fixed_filter(family: int) -> Chains:
    local = '-m comment --comment "block incoming localnet connections"'
    untracked = "-m conntrack ! --ctstate RELATED,ESTABLISHED,DNAT -j DROP"
    return {
        "KUBE-PROXY-CANARY": [],
        "KUBE-EXTERNAL-SERVICES": [],
        "KUBE-FIREWALL": [f"! -s 127.0.0.0/8 -d 127.0.0.0/8 {local} {untracked}"] if family == 4 else [],
        "KUBE-FORWARD": [
            f"-m conntrack --ctstate INVALID -m nfacct --nfacct-name {ACCOUNTS[0]} -j DROP",
            f'-m comment --comment "kubernetes forwarding rules" -m mark --mark {MARK} -j ACCEPT',
            '-m comment --comment "kubernetes forwarding conntrack rule" '
            "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        ],
        "KUBE-NODEPORTS": [],
        "KUBE-PROXY-FIREWALL": [],
        "KUBE-SERVICES": [],
    }


def _add(port: ServicePort, node: str, pods: str, nat: Chains, filters: Chains) -> None:
    """Add what one service's port needs."""
    svc, svl, ext = (_chain(kind, port) for kind in ("SVC", "SVL", "EXT"))
    at = f"-p {port.proto} -m comment --comment"
    dport = f"-m {port.proto} --dport"
    inside, outside = port.inside(node), port.outside(node)
    if inside:
        chain = svl if port.internal_local else svc
        nat["KUBE-SERVICES"].append(
            f'-d {_host(port.cluster_ip)} {at} "{port.title} cluster IP" {dport} {port.port} -j {chain}'
        )
    else:
        _refuse(port, filters["KUBE-SERVICES"], f"-d {_host(port.cluster_ip)} ", f"{dport} {port.port}", "")
    for ip, what in _outer_addresses(port):
        if port.endpoints:
            chain, title = _chain("FW", port) if ip in port.guarded_ips else ext, f'"{port.title} {what}"'
            nat["KUBE-SERVICES"].append(f"-d {_host(ip)} {at} {title} {dport} {port.port} -j {chain}")
        if not outside:
            _refuse(port, filters["KUBE-EXTERNAL-SERVICES"], f"-d {_host(ip)} ", f"{dport} {port.port}", "")
    if port.node_port:
        _node_port(port, node, ext, nat, filters)
    if port.endpoints:
        _chains(port, node, pods, nat)
    if port.health_port:
        note = f'-m comment --comment "{port.title} health check node port"'
        filters["KUBE-NODEPORTS"].append(f"-p tcp {note} -m tcp --dport {port.health_port} -j ACCEPT")


def _outer_addresses(port: ServicePort) -> list[tuple[str, str]]:
    found = [(ip, "external IP") for ip in port.external_ips]
    return found + [(ip, "loadbalancer IP") for ip in port.balancer_ips]


def _guard(port: ServicePort, node_ip: str, nat: Chains, filters: Chains) -> None:
    """Let a load balancer's addresses take traffic from some sources alone; what isn't translated is dropped."""
    fw, ext = _chain("FW", port), _chain("EXT", port)
    note = f'-m comment --comment "{port.title} loadbalancer IP"'
    rest = f'-m comment --comment "other traffic to {port.title} will be dropped by KUBE-PROXY-FIREWALL"'
    nat[fw] = [*(f"-s {source} {note} -j {ext}" for source in port.taken(node_ip)), rest]
    refuse = f'-m comment --comment "{port.title} traffic not accepted by {fw}"'
    filters["KUBE-PROXY-FIREWALL"] += [
        f"-d {_host(ip)} -p {port.proto} {refuse} -m {port.proto} --dport {port.port} -j DROP"
        for ip in port.guarded_ips
    ]


def _node_port(port: ServicePort, node: str, ext: str, nat: Chains, filters: Chains) -> None:
    match = f'-p {port.proto} -m comment --comment "{port.title}" -m {port.proto} --dport {port.node_port}'
    if port.endpoints:
        if ":" not in port.cluster_ip:
            account = f"-m nfacct --nfacct-name {ACCOUNTS[1]}"
            nat["KUBE-NODEPORTS"].append(f"-d 127.0.0.0/8 {match} {account} -j {ext}")
        nat["KUBE-NODEPORTS"].append(f"{match} -j {ext}")
    if not port.outside(node):
        where = "-m addrtype --dst-type LOCAL "
        dport = f"-m {port.proto} --dport {port.node_port}"
        _refuse(port, filters["KUBE-EXTERNAL-SERVICES"], "", dport, where)


def _refuse(port: ServicePort, rules: list[str], dst: str, dport: str, where: str) -> None:
    """Refuse what there is no endpoint for; drop it where there are some, but on other nodes."""
    version = "icmp6" if ":" in port.cluster_ip else "icmp"
    what, target = "no local endpoints", "DROP"
    if not port.endpoints:
        what, target = "no endpoints", f"REJECT --reject-with {version}-port-unreachable"
    rules.append(
        f'{dst}-p {port.proto} -m comment --comment "{port.title} has {what}" {where}{dport} -j {target}'
    )


def _chains(port: ServicePort, node: str, pods: str, nat: Chains) -> None:
    """Write the chains of a port that has endpoints."""
    svc, svl, ext = (_chain(kind, port) for kind in ("SVC", "SVL", "EXT"))
    local = port.local(node)
    masquerade = (
        f'! -s {pods} -d {_host(port.cluster_ip)} -p {port.proto} -m comment --comment "{port.title} cluster IP" '
        f"-m {port.proto} --dport {port.port} -j KUBE-MARK-MASQ"
    )
    uses_all = not port.internal_local or port.is_external
    if uses_all:
        nat[svc] = [*([] if port.internal_local else [masquerade]), *_choose(port, port.endpoints)]
    if local and (port.internal_local or (port.external_local and port.is_external)):
        nat[svl] = [*([masquerade] if port.internal_local else []), *_choose(port, local)]
    if port.is_external:
        nat[ext] = _external(port, pods, svc, svl if local else "")
    for endpoint in port.endpoints if uses_all else local:
        sep = _chain("SEP", port, endpoint)
        note = f'-m comment --comment "{port.title}"'
        recent = f"-m recent --name {sep} --set " if port.affinity_s else ""
        nat[sep] = [
            f"-s {_host(endpoint.addr)} {note} -j KUBE-MARK-MASQ",
            f"-p {port.proto} {note} {recent}-m {port.proto} -j DNAT --to-destination {endpoint.written}",
        ]


def _external(port: ServicePort, pods: str, svc: str, svl: str) -> list[str]:
    """Write the chain for what comes from outside."""
    words = f"{port.title} external destinations"
    if not port.external_local:
        note = f'-m comment --comment "masquerade traffic for {words}"'
        return [f"{note} -j KUBE-MARK-MASQ", f"-j {svc}"]
    here = "-m addrtype --src-type LOCAL"
    rules = [
        f'-s {pods} -m comment --comment "pod traffic for {words}" -j {svc}',
        f'-m comment --comment "masquerade LOCAL traffic for {words}" {here} -j KUBE-MARK-MASQ',
        f'-m comment --comment "route LOCAL traffic for {words}" {here} -j {svc}',
    ]
    return [*rules, f"-j {svl}"] if svl else rules


def _choose(port: ServicePort, endpoints: Sequence[Endpoint]) -> list[str]:
    """Who has been at an endpoint before goes there again; others to one at random."""
    rules = []
    for endpoint in endpoints if port.affinity_s else ():
        sep = _chain("SEP", port, endpoint)
        recent = f"-m recent --name {sep} --rcheck --seconds {port.affinity_s} --reap"
        rules.append(f"{_arrow(port, endpoint)} {recent} -j {sep}")
    for number, endpoint in enumerate(endpoints):
        left = len(endpoints) - number
        odds = f" -m statistic --mode random --probability {1 / left:.10f}" if left > 1 else ""
        rules.append(f"{_arrow(port, endpoint)}{odds} -j {_chain('SEP', port, endpoint)}")
    return rules


def _arrow(port: ServicePort, endpoint: Endpoint) -> str:
    return f'-m comment --comment "{port.title} -> {endpoint.written}"'


def _chain(kind: str, port: ServicePort, endpoint: Endpoint | None = None) -> str:
    """Name a chain as kube-proxy does, by a digest of what it is for."""
    what = port.title + port.proto + (endpoint.written if endpoint is not None else "")
    digest = base64.b32encode(hashlib.sha256(what.encode()).digest()).decode()[:16]
    return f"KUBE-{kind}-{digest}"


def _host(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"
