"""The clusters that the check of all pairs is measured on, with the rules that kube-proxy, flannel and Calico write."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from netviz.core.model.conntrack import CtEntry
from netviz.core.model.ids import NetnsKey
from netviz.core.model.l2 import NUD_PERMANENT, Fdb, Neigh
from netviz.core.model.l3 import RTN_LOCAL, Addr, Nexthop, Route
from netviz.core.model.link import Link, VxlanInfo
from netviz.core.model.netfilter import Body, ChainBody, NftChain, NftExpr, NftRuleBody, NftTable, body_digest
from netviz.core.model.netns import Netns, Pod
from netviz.core.state.node import ClusterState, NetnsState, NodeState
from netviz.core.state.section import Section
from tests.bench import scale
from tests.core.check.paths.clusters import iifname, net_of, oifname
from tests.core.sim.nft import (
    ACCEPT,
    DROP,
    FORWARD,
    GOTO,
    JUMP,
    OUTPUT,
    POSTROUTING,
    PREROUTING,
    RETURN,
    ct_state,
    daddr,
    dnat,
    dport,
    e,
    l4proto,
    saddr,
    verdict,
)

SERVICES, CONNECTIONS = 100, 500
UP = scale.UP
Rule = tuple[NftExpr, ...]


class Chains:
    """Chains with their bodies, which all nodes share."""

    def __init__(self) -> None:
        self.bodies: dict[bytes, Body] = {}

    def chain(
        self, name: str, *rules: Rule, hook: int | None = None, table: str = "filter", priority: int = 0
    ) -> NftChain:
        """Make a chain."""
        body = ChainBody(tuple(NftRuleBody(rule) for rule in rules))
        digest = body_digest(body)
        if rules:
            self.bodies[digest] = body
        kind = ("nat" if table == "nat" else "filter") if hook is not None else ""
        return NftChain(2, table, name, 1, kind, hook, priority, 1, (), 0, digest)

    def kube_proxy(self, changed: int = 0) -> list[NftChain]:
        """Write kube-proxy's chains, as it does for iptables."""
        made, services = [], []
        for number in range(SERVICES):
            cluster_ip = f"172.30.{number // 250}.{number % 250 + 1}"
            ends = []
            for end in range(2):
                addr = ".".join(map(str, scale.pod_addr(number % 40, 2 + end)))
                name = f"KUBE-SEP-{number}-{end}"
                mark = (*saddr(addr), verdict(JUMP, "KUBE-MARK-MASQ"))
                made.append(self.chain(name, mark, (*l4proto(6), *dnat(addr, 8080 + changed)), table="nat"))
                ends.append((verdict(JUMP, name),))
            made.append(self.chain(f"KUBE-SVC-{number}", *ends, table="nat"))
            services.append(
                (*daddr(cluster_ip), *l4proto(6), *dport(80), verdict(JUMP, f"KUBE-SVC-{number}"))
            )
        made += [
            self.chain("KUBE-SERVICES", *services, table="nat"),
            self.chain("KUBE-MARK-MASQ", _mark(), table="nat"),
            self.chain("KUBE-POSTROUTING", _unmarked(), (e("masq", flags=0),), table="nat"),
            self.chain(
                "PREROUTING", (verdict(JUMP, "KUBE-SERVICES"),), hook=PREROUTING, table="nat", priority=-100
            ),
            self.chain("OUTPUT", (verdict(JUMP, "KUBE-SERVICES"),), hook=OUTPUT, table="nat", priority=-100),
        ]
        return made

    def postrouting(self, *jumps: str) -> NftChain:
        """Write POSTROUTING of table nat."""
        rules = [(verdict(JUMP, name),) for name in jumps]
        return self.chain("POSTROUTING", *rules, hook=POSTROUTING, table="nat", priority=100)

    def flannel(self, own: str) -> list[NftChain]:
        """Write flannel's chain, which names the node's own range."""
        every = "10.0.0.0/8"
        return [
            self.chain(
                "FLANNEL-POSTRTG",
                (*net_of(every), *net_of(every, 16), verdict(RETURN)),
                (*net_of(every, op=1), *net_of(own, 16), verdict(RETURN)),
                (*net_of(every), *net_of("224.0.0.0/4", 16, op=1), e("masq", flags=0)),
                (*net_of(every, op=1), *net_of(every, 16), e("masq", flags=0)),
                table="nat",
            )
        ]

    def felix(self, ends: list[str]) -> list[NftChain]:
        """Write Felix's dispatch chains and those of each workload."""
        made = [
            self.chain("cali-pri-kns.default", (*net_of("10.0.0.0/8"), verdict(ACCEPT))),
            self.chain(
                "cali-from-wl-dispatch", *((*iifname(end), verdict(GOTO, f"cali-fw-{end}")) for end in ends)
            ),
            self.chain(
                "cali-to-wl-dispatch", *((*oifname(end), verdict(GOTO, f"cali-tw-{end}")) for end in ends)
            ),
            self.chain(
                "cali-FORWARD",
                (
                    e("meta", dreg=1, key=6),
                    e("cmp", sreg=1, op=0, data=b"cali"),
                    verdict(JUMP, "cali-from-wl-dispatch"),
                ),
                (
                    e("meta", dreg=1, key=7),
                    e("cmp", sreg=1, op=0, data=b"cali"),
                    verdict(JUMP, "cali-to-wl-dispatch"),
                ),
            ),
            self.chain("FORWARD", (verdict(JUMP, "cali-FORWARD"),), hook=FORWARD),
            self.chain(
                "cali-nat-outgoing",
                (*net_of("10.0.0.0/8"), *net_of("10.0.0.0/8", 16, op=1), e("masq", flags=0)),
                table="nat",
            ),
        ]
        for end in ends:
            note = e("match", name="comment", rev=0, info=f"cali:{end}".encode().ljust(256, b"\0"))
            for way in ("fw", "tw"):
                made.append(
                    self.chain(
                        f"cali-{way}-{end}",
                        (note, *ct_state(6), verdict(ACCEPT)),
                        (note, verdict(JUMP, "cali-pri-kns.default")),
                        (note, verdict(DROP)),
                    )
                )
        return made


def _mark() -> NftExpr:
    return e("target", name="MARK", rev=2, info=(0x4000).to_bytes(4, "little") * 2)


def _unmarked() -> Rule:
    load = e("meta", dreg=1, key=3)
    bits = e("bitwise", sreg=1, dreg=1, len=4, op=0, mask=(0x4000).to_bytes(4, "little"), xor=bytes(4))
    return (load, bits, e("cmp", sreg=1, op=1, data=(0x4000).to_bytes(4, "little")), verdict(RETURN))


def _with_rules(root: NetnsState, chains: Iterable[NftChain]) -> NetnsState:
    tables = {(2, name): NftTable(2, name) for name in ("filter", "nat")}
    return msgspec.structs.replace(root, nft_tables=tables, nft_chains={chain.key: chain for chain in chains})


def shared(nodes: int, changed: int = 0) -> ClusterState:
    """Construct 30 pods on each node, with alike records shared, kube-proxy's and flannel's rules."""
    return with_services(scale.build(nodes), changed)


def with_services(cluster: ClusterState, changed: int) -> ClusterState:
    """Give every node kube-proxy's and flannel's rules, and a default route; `changed` makes other rules of them."""
    rules = Chains()
    services = [*rules.kube_proxy(changed), rules.postrouting("KUBE-POSTROUTING", "FLANNEL-POSTRTG")]
    default = Route(254, bytes(4), 0, nexthops=(Nexthop(2, b"\xac\x10\xff\xfe"),))
    made = {}
    for number, (name, node) in enumerate(cluster.nodes.items()):
        root = node.root
        assert root is not None
        own = ".".join(map(str, scale.pod_addr(number, 0))) + "/26"
        root = _with_rules(root, [*services, *rules.flannel(own)])
        if default.key not in root.routes:
            root = msgspec.structs.replace(root, routes={**root.routes, default.key: default})
        made[name] = msgspec.structs.replace(node, netns={**node.netns, root.key: root})
    return ClusterState(made, rules.bodies)


def _vtep(node: int) -> bytes:
    return scale.pod_addr(node, 63)


def own_records(nodes: int) -> ClusterState:
    """Construct Calico's network over VXLAN, every node with records of its own for every other."""
    rules = Chains()
    return ClusterState({f"node-{n}": _calico_node(n, nodes, rules) for n in range(nodes)}, rules.bodies)


def _calico_node(number: int, nodes: int, rules: Chains) -> NodeState:
    name = f"node-{number}"
    key = NetnsKey(name, 4, 1)
    own, vtep = scale.node_addr(number), _vtep(number)
    vxlan = Link(
        3,
        "vxlan.calico",
        "vxlan",
        1,
        UP,
        0,
        1450,
        scale.mac_of(3, number, 0),
        ipv4=scale.FORWARDS,
        info=VxlanInfo(vni=4096, local=own, port=4789, learning=False),
    )
    links = {
        1: scale.LO,
        2: Link(2, "eth0", "", 1, UP, 6, 1500, scale.mac_of(2, number, 0), ipv4=scale.FORWARDS),
        3: vxlan,
    }
    routes = [
        *scale.LO_ROUTES,
        Route(255, own, 32, RTN_LOCAL, scope=254, prefsrc=own, nexthops=(Nexthop(2),)),
        Route(255, vtep, 32, RTN_LOCAL, scope=254, prefsrc=vtep, nexthops=(Nexthop(3),)),
        Route(254, b"\xac\x10\0\0", 16, scope=253, prefsrc=own, nexthops=(Nexthop(2),)),
        Route(254, bytes(4), 0, nexthops=(Nexthop(2, b"\xac\x10\xff\xfe"),)),
        Route(254, scale.pod_addr(number, 0), 26, type=6),
    ]
    neighs, fdb = [], []
    for other in range(nodes):
        if other != number:
            routes.append(
                Route(254, scale.pod_addr(other, 0), 26, nexthops=(Nexthop(3, _vtep(other), flags=4),))
            )
            neighs.append(Neigh(3, _vtep(other), scale.mac_of(3, other, 0), NUD_PERMANENT))
            fdb.append(
                Fdb(3, scale.mac_of(3, other, 0), state=NUD_PERMANENT, flags=2, dst=scale.node_addr(other))
            )
    pods, ends = [], []
    for pod in range(scale.PODS):
        end, addr = f"cali{number:05x}{pod:02x}", scale.pod_addr(number, pod + 2)
        ends.append(end)
        conf = msgspec.structs.replace(scale.FORWARDS, proxy_arp=1)
        links[10 + pod] = Link(10 + pod, end, "veth", 1, UP, 6, 1450, b"\xee" * 6, 0, 2, pod, ipv4=conf)
        routes.append(Route(254, addr, 32, scope=253, nexthops=(Nexthop(10 + pod),)))
        pods.append(_calico_pod(number, pod, addr, key))
    addrs = scale.keyed(scale.LO_ADDR, Addr(2, own, 16), Addr(3, vtep, 32))
    root = NetnsState(
        Netns(key, "", True, nsids=tuple((at, ns.key) for at, ns in enumerate(pods))),
        links,
        addrs,
        routes=scale.keyed(*routes),
        neighs=scale.keyed(*neighs),
        fdb=scale.keyed(*fdb),
        rules=scale.RULES,
        sysctls=scale.SYSCTLS,
        conntrack=scale.keyed(*_connections(number, nodes)),
    )
    chains = [
        *rules.kube_proxy(),
        *rules.felix(ends),
        rules.postrouting("KUBE-POSTROUTING", "cali-nat-outgoing"),
    ]
    root = _with_rules(root, chains)
    return NodeState(name, "6.18", "boot", {ns.key: ns for ns in (root, *pods)}, scale.STATUS)


def _connections(number: int, nodes: int) -> Iterable[CtEntry]:
    for at in range(CONNECTIONS):
        source, target = (
            scale.pod_addr(number, 2 + at % scale.PODS),
            scale.pod_addr((number + at) % nodes, 2 + at % 7),
        )
        yield CtEntry(
            6, source, target, 30_000 + at, 80, target, source, 80, 30_000 + at, status=0xE, tcp_state=3
        )


def _calico_pod(number: int, pod: int, addr: bytes, root: NetnsKey) -> NetnsState:
    name = f"pod-{number}-{pod}"
    gateway = b"\xa9\xfe\x01\x01"
    link = Link(
        2,
        "eth0",
        "veth",
        1,
        UP,
        6,
        1450,
        scale.mac_of(1, number, pod),
        0,
        10 + pod,
        0,
        ipv4=scale.ENDS,
        ipv6=scale.ENDS6,
    )
    routes = scale.keyed(
        *scale.LO_ROUTES,
        Route(255, addr, 32, RTN_LOCAL, scope=254, prefsrc=addr, nexthops=(Nexthop(2),)),
        Route(254, gateway, 32, scope=253, nexthops=(Nexthop(2),)),
        Route(254, bytes(4), 0, nexthops=(Nexthop(2, gateway),)),
    )
    return NetnsState(
        Netns(
            NetnsKey(root.node, 4, 1000 + pod),
            name,
            nsids=((0, root),),
            pod=Pod(name, "default", source="cri"),
        ),
        {1: scale.LO, 2: link},
        scale.keyed(scale.LO_ADDR, Addr(2, addr, 32)),
        routes=routes,
        rules=scale.RULES,
        sockets=scale.SOCKETS,
        neighs=scale.keyed(Neigh(2, gateway, b"\xee" * 6, 2)),
    )


def with_services_of_calico(cluster: ClusterState) -> ClusterState:
    """Put one more rule into Felix's chain of FORWARD on every node."""
    rules = Chains()
    made = {}
    for name, node in cluster.nodes.items():
        root = node.root
        assert root is not None
        chain = rules.chain(
            "FORWARD",
            (*net_of("192.0.2.0/24"), verdict(DROP)),
            (verdict(JUMP, "cali-FORWARD"),),
            hook=FORWARD,
        )
        chains = Section.of(root.nft_chains).changed((), {chain.key: chain})
        put = msgspec.structs.replace(root, nft_chains=chains)
        made[name] = msgspec.structs.replace(node, netns=node.netns.changed((), {root.key: put}))
    return ClusterState(made, {**cluster.bodies, **rules.bodies})
