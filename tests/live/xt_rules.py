"""iptables rulesets for tests, as kube-proxy and NetworkPolicy agents write them, for the pods of a lab cluster."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterable, Sequence

import msgspec

from lab.cluster import Cluster

MARK = "0x4000"


class Service(msgspec.Struct, frozen=True):
    """A service: its address and port, its endpoints as ADDRESS:PORT, and a node port or 0."""

    name: str
    addr: str
    port: int
    endpoints: tuple[str, ...]
    proto: str = "tcp"
    node_port: int = 0


def _endpoint_rules(service: Service, tag: str) -> Iterable[str]:
    title, proto = f"default/{service.name}:http", service.proto
    count = len(service.endpoints)
    for number, endpoint in enumerate(service.endpoints):
        addr = endpoint.rpartition(":")[0]
        sep = f"KUBE-SEP-{tag}{number}"
        odds = (
            f"-m statistic --mode random --probability {1 / (count - number):.11f} "
            if number < count - 1
            else ""
        )
        yield f'-A KUBE-SVC-{tag} -m comment --comment "{title} -> {endpoint}" {odds}-j {sep}'
        yield f'-A {sep} -s {addr}/32 -m comment --comment "{title}" -j KUBE-MARK-MASQ'
        yield (
            f'-A {sep} -p {proto} -m comment --comment "{title}" -m {proto} '
            f"-j DNAT --to-destination {endpoint}"
        )


def kube_proxy(services: Sequence[Service], pod_cidr: str) -> str:
    """Write what kube-proxy restores in iptables mode: NAT for services, rejection where there is no endpoint."""
    chains: list[str] = []
    rules: list[str] = []
    filters: list[str] = []
    for number, service in enumerate(services):
        tag, proto = f"{number:05d}", service.proto
        title = f"default/{service.name}:http"
        where = f"-d {service.addr}/32 -p {proto} -m comment --comment"
        if not service.endpoints:
            filters.append(
                f'-A KUBE-SERVICES {where} "{title} has no endpoints" -m {proto} --dport {service.port} '
                "-j REJECT --reject-with icmp-port-unreachable"
            )
            continue
        chains.append(f"KUBE-SVC-{tag}")
        chains += [f"KUBE-SEP-{tag}{at}" for at in range(len(service.endpoints))]
        rules.append(
            f'-A KUBE-SERVICES {where} "{title} cluster IP" -m {proto} --dport {service.port} -j KUBE-SVC-{tag}'
        )
        rules.append(
            f"-A KUBE-SVC-{tag} ! -s {pod_cidr} -d {service.addr}/32 -p {proto} -m comment --comment "
            f'"{title} cluster IP" -m {proto} --dport {service.port} -j KUBE-MARK-MASQ'
        )
        rules += _endpoint_rules(service, tag)
        if service.node_port:
            chains.append(f"KUBE-EXT-{tag}")
            rules.append(
                f'-A KUBE-NODEPORTS -p {proto} -m comment --comment "{title}" -m {proto} '
                f"--dport {service.node_port} -j KUBE-EXT-{tag}"
            )
            note = f'-m comment --comment "masquerade traffic for {title} external destinations"'
            rules.append(f"-A KUBE-EXT-{tag} {note} -j KUBE-MARK-MASQ")
            rules.append(f"-A KUBE-EXT-{tag} -j KUBE-SVC-{tag}")
    return _ruleset(chains, rules, filters)


def _ruleset(chains: list[str], rules: list[str], filters: list[str]) -> str:
    portals = '-m comment --comment "kubernetes service portals" -j KUBE-SERVICES'
    nat = [
        "*nat",
        *(
            f":{chain} - [0:0]"
            for chain in ("KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-POSTROUTING", "KUBE-MARK-MASQ")
        ),
        *(f":{chain} - [0:0]" for chain in chains),
        f"-A PREROUTING {portals}",
        f"-A OUTPUT {portals}",
        '-A POSTROUTING -m comment --comment "kubernetes postrouting rules" -j KUBE-POSTROUTING',
        f"-A KUBE-MARK-MASQ -j MARK --set-xmark {MARK}/{MARK}",
        f"-A KUBE-POSTROUTING -m mark ! --mark {MARK}/{MARK} -j RETURN",
        f"-A KUBE-POSTROUTING -j MARK --set-xmark {MARK}/0x0",
        '-A KUBE-POSTROUTING -m comment --comment "kubernetes service traffic requiring SNAT" -j MASQUERADE',
        *rules,
        '-A KUBE-SERVICES -m comment --comment "kubernetes service nodeports; NOTE: this must be the last rule '
        'in this chain" -m addrtype --dst-type LOCAL -j KUBE-NODEPORTS',
        "COMMIT",
    ]
    new = "-m conntrack --ctstate NEW"
    table = [
        "*filter",
        ":KUBE-SERVICES - [0:0]",
        ":KUBE-FORWARD - [0:0]",
        f"-A INPUT {new} {portals}",
        f"-A FORWARD {new} {portals}",
        f"-A OUTPUT {new} {portals}",
        '-A FORWARD -m comment --comment "kubernetes forwarding rules" -j KUBE-FORWARD',
        "-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP",
        f'-A KUBE-FORWARD -m comment --comment "kubernetes forwarding rules" -m mark --mark {MARK}/{MARK} -j ACCEPT',
        "-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        *filters,
        "COMMIT",
    ]
    return "\n".join(nat + table) + "\n"


def restore(
    cluster: Cluster, node: str, text: str, *, legacy: bool = False, program: str = "iptables"
) -> None:
    """Load a ruleset on a node."""
    name = f"{program}-legacy-restore" if legacy else f"{program}-restore"
    run_on(cluster, node, [name], text)


def run_on(cluster: Cluster, node: str, argv: Sequence[str], text: str = "") -> str:
    """Run a program in a node's namespace. Raises: AssertionError with what it complained of."""
    done = subprocess.run(
        cluster.command(node, list(argv)), input=text, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"{' '.join(argv)}: {done.stderr}"
    return done.stdout


def destroy_sets(cluster: Cluster) -> None:
    """Remove all sets of node1, as soon as the kernel has let go of the rules that used them."""
    run_on(cluster, "node1", ["ipset", "flush"])  # a list of sets holds its members
    end = time.monotonic() + 10
    while cluster.exec("node1", ["ipset", "destroy"]).returncode != 0:
        assert time.monotonic() < end, "the sets stay in use"
        time.sleep(0.02)
