"""Made-up clusters in racks: the states, and what changes in them. crowd.py tells a server of them.

Forty nodes share a subnet of the underlay and its router; a node has a bridge with its pods' veth ports, routes to its
rack's other nodes and a default route. Nodes may be unwell: a pod's veth is down on the node's side. Kubernetes' objects
put each rack into one of three zones.
"""

from __future__ import annotations

import msgspec

from netviz.core.model.ids import NetnsKey
from netviz.core.model.kubernetes import Condition, KubeNamespace, KubeNode, KubePod, Owner
from netviz.core.model.l3 import RTN_LOCAL, Addr, Nexthop, Route
from netviz.core.model.link import BridgeInfo, BridgePort, Link
from netviz.core.model.netns import Netns, Pod
from netviz.core.state.delta import Change, NetnsDelta, NodeDelta, diff
from netviz.core.state.node import NetnsState, NodeState, SectionStatus
from netviz.core.state.objects import OBJECT_SECTIONS, Objects, cluster_source
from netviz.core.state.pods import ZONE
from netviz.core.state.section import EMPTY
from tests.bench.scale import (
    ENDS,
    ENDS6,
    FORWARDS,
    FORWARDS6,
    LO,
    LO_ADDR,
    LO_ROUTES,
    RULES,
    SOCKETS,
    STATUS,
    SYSCTLS,
    UP,
    keyed,
    mac_of,
    pod_addr,
)

RACK = 40
ZONES = ("west-1a", "west-1b", "west-1c")
APPS = (
    "shop/web",
    "shop/cart",
    "shop/checkout",
    "data/postgres",
    "data/redis",
    "infra/loki",
    "kube-system/coredns",
)
FIRST_VETH = 10
# A MAC that says when it was set: milliseconds since the epoch, modulo this, behind the byte of local addresses.
STAMP_SPAN = 1 << 40
OPER_UP, OPER_DOWN = 6, 2


def node_name(node: int) -> str:
    """Name a node: worker-0001 and so on."""
    return f"worker-{node + 1:04}"


def root_key(node: int) -> NetnsKey:
    """The key of a node's own namespace."""
    return NetnsKey(node_name(node), 4, 1)


def pod_key(node: int, pod: int) -> NetnsKey:
    """The key of a pod's namespace."""
    return NetnsKey(node_name(node), 4, 1000 + pod)


def node_addr(node: int, host: int = 0) -> bytes:
    """The node's address in its rack's /24 below 10.31.0.0/16; with `host` another one there (1: the router)."""
    rack, place = divmod(node, RACK)
    return bytes((10, 31, rack, host or 10 + place))


def pod_name(node: int, pod: int) -> Pod:
    """A pod's name as a Deployment would give it."""
    namespace, app = APPS[pod % len(APPS)].split("/")
    letters, value, tail = "bcdfghjklmnpqrstvwxz2456789", node * 131 + pod * 7919 + 17, ""
    for _ in range(5):
        value, rest = divmod(value * 31 + 7, len(letters))
        tail += letters[rest]
    return Pod(f"{app}-{7000 + (pod % 7) * 911:x}d9-{tail}", namespace, source="cri")


def host_veth(node: int, pod: int, *, is_up: bool = True) -> Link:
    """The node's end of a pod's veth, a port of the bridge."""
    flags, state = (UP, OPER_UP) if is_up else (0, OPER_DOWN)
    name, mac = f"veth{node:04x}{pod:02x}", mac_of(4, node, pod)
    index = FIRST_VETH + pod
    return Link(index, name, "veth", 1, flags, state, 1500, mac, 3, 2, pod, port=BridgePort(), ipv4=FORWARDS)


def _pod(node: int, pod: int) -> NetnsState:
    addr, hop = pod_addr(node, pod + 2), (Nexthop(2),)
    mac = mac_of(1, node, pod)
    eth0 = Link(2, "eth0", "veth", 1, UP, OPER_UP, 1500, mac, 0, FIRST_VETH + pod, 0, ipv4=ENDS, ipv6=ENDS6)
    routes = keyed(
        *LO_ROUTES,
        Route(255, addr, 32, RTN_LOCAL, scope=254, prefsrc=addr, nexthops=hop),
        Route(254, pod_addr(node, 0), 26, scope=253, prefsrc=addr, nexthops=hop),
        Route(254, bytes(4), 0, nexthops=(Nexthop(2, pod_addr(node, 1)),)),
    )
    nsids = ((0, root_key(node)),)
    return NetnsState(
        Netns(pod_key(node, pod), f"cni-{node}-{pod}", nsids=nsids, pod=pod_name(node, pod)),
        {1: LO, 2: eth0},
        keyed(LO_ADDR, Addr(2, addr, 26)),
        routes=routes,
        rules=RULES,
        sockets=SOCKETS,
    )


def _root(node: int, pods: int) -> Netns:
    """The record of a node's own namespace, with so many pods."""
    nsids = tuple((pod, pod_key(node, pod)) for pod in range(pods))
    return Netns(root_key(node), "", True, nsids=nsids)


def build_node(node: int, nodes: int, pods: int, *, unwell: bool = False) -> NodeState:
    """Construct a node of a cluster of so many. Of an `unwell` one a pod's veth is down."""
    spaces = [_pod(node, pod) for pod in range(pods)]
    links = {
        1: LO,
        2: Link(2, "eth0", "", 1, UP, OPER_UP, 1500, mac_of(2, node, 0), ipv4=FORWARDS, ipv6=FORWARDS6),
        3: Link(
            3, "cni0", "bridge", 1, UP, OPER_UP, 1500, mac_of(3, node, 0), info=BridgeInfo(), ipv4=FORWARDS
        ),
    }
    for pod in range(pods):
        veth = host_veth(node, pod, is_up=not (unwell and pod == 3))
        links[veth.ifindex] = veth
    own, gateway, rack = node_addr(node), pod_addr(node, 1), node // RACK
    others = [n for n in range(rack * RACK, min(nodes, (rack + 1) * RACK)) if n != node]
    routes = keyed(
        *LO_ROUTES,
        *(Route(254, pod_addr(n, 0), 26, nexthops=(Nexthop(2, node_addr(n)),)) for n in others),
        Route(254, bytes(4), 0, nexthops=(Nexthop(2, node_addr(node, 1)),)),
        Route(254, pod_addr(node, 0), 26, scope=253, prefsrc=gateway, nexthops=(Nexthop(3),)),
        Route(254, own[:3] + b"\0", 24, scope=253, prefsrc=own, nexthops=(Nexthop(2),)),
        Route(255, own, 32, RTN_LOCAL, scope=254, prefsrc=own, nexthops=(Nexthop(2),)),
        Route(255, gateway, 32, RTN_LOCAL, scope=254, prefsrc=gateway, nexthops=(Nexthop(3),)),
    )
    root = NetnsState(
        _root(node, pods),
        links,
        keyed(LO_ADDR, Addr(2, own, 24), Addr(3, gateway, 26)),
        routes=routes,
        rules=RULES,
        sysctls=SYSCTLS,
    )
    return NodeState(node_name(node), "6.18", "boot", {ns.key: ns for ns in (root, *spaces)}, STATUS)


def build_objects(nodes: int, pods: int) -> NodeState:
    """Construct what the cluster's API says: its nodes, each rack in a zone, its pods and their namespaces."""
    ready = (Condition("Ready", "True"),)
    zones = [ZONES[node // RACK % len(ZONES)] for node in range(nodes)]
    kube_nodes = (
        KubeNode(node_name(node), addresses=(node_addr(node),), labels={ZONE: zone}, conditions=ready)
        for node, zone in enumerate(zones)
    )
    objects = Objects(
        kube_nodes=keyed(*kube_nodes),
        kube_namespaces=keyed(*(KubeNamespace(name) for name in sorted({app.split("/")[0] for app in APPS}))),
        kube_pods=keyed(*(_kube_pod(node, pod, ready) for node in range(nodes) for pod in range(pods))),
    )
    status = {section: SectionStatus(1.0) for section in OBJECT_SECTIONS if section != "refused"}
    return NodeState(cluster_source("default"), status=status, objects=objects)


def _kube_pod(node: int, pod: int, ready: tuple[Condition, ...]) -> KubePod:
    record = pod_name(node, pod)
    made, _, _ = record.name.rpartition("-")
    return KubePod(
        record.namespace,
        record.name,
        node=node_name(node),
        ips=(pod_addr(node, pod + 2),),
        phase="Running",
        labels={"app": made.partition("-")[0]},
        owner=Owner("ReplicaSet", made),
        conditions=ready,
    )


# What changes.


def stamped(node: int, now_ms: int) -> NodeDelta:
    """The first pod's veth gets a MAC that says when it did."""
    mac = b"\x02" + (now_ms % STAMP_SPAN).to_bytes(5, "big")
    return _link_put(node, msgspec.structs.replace(host_veth(node, 0), mac=mac))


def renamed(node: int, number: int) -> NodeDelta:
    """The second pod's veth gets another alias, which no page is told of."""
    return _link_put(node, msgspec.structs.replace(host_veth(node, 1), alias=f"change {number}"))


def _link_put(node: int, link: Link) -> NodeDelta:
    return NodeDelta((NetnsDelta(root_key(node), links=Change((link,))),))


def last_pod(node: int, pods: int) -> tuple[NodeDelta, NodeDelta]:
    """The last pod goes, and comes again."""
    name, veth = node_name(node), host_veth(node, pods - 1)
    less = NodeState(name, netns={root_key(node): NetnsState(_root(node, pods - 1), EMPTY)})
    root, pod = NetnsState(_root(node, pods), {veth.ifindex: veth}), _pod(node, pods - 1)
    more = NodeState(name, netns={root.key: root, pod.key: pod})
    return diff(more, less), diff(less, more)
