"""The simulator against the kernel in networks as flannel, kindnet and Calico set them up, and what it says of them.

Their devices, routes and rules are put on the nodes of a lab as their programs do it; the programs
themselves don't run. IPIP and WireGuard, which a kernel may lack, are in tests/core/sim/kubernetes.

    flannel, kindnet:  web-1, api-1 - cni0 (node1) eth0 ---- eth0 (node2) cni0 - web-2, api-2
                       flannel.1 on both nodes carries pods' traffic between them
    Calico:            pods with /32 addresses behind cali* devices and the gateway 169.254.1.1, vxlan.calico
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from lab import netns
from lab.cluster import Cluster, ClusterSpec
from lab.reality import Probe
from tests.live import calico_rules
from tests.live.calico_rules import API, WEB
from tests.live.prediction import predict, said
from tests.live.translated import hold
from tests.live.xt_rules import destroy_sets, restore, run_on

pytestmark = pytest.mark.live

OPEN, CLOSED = 8080, 81
EXCHANGES = (("tcp", OPEN), ("tcp", CLOSED), ("udp", OPEN), ("udp", CLOSED), ("icmp", 0))
MACS = {"node1": "0e:00:00:00:00:01", "node2": "0e:00:00:00:00:02"}
NODES = ("node1", "node2")


def fresh(name: str) -> Iterator[Cluster]:
    """Two nodes with two pods each, without the lab's own IPv4 rules."""
    with Cluster.up(ClusterSpec(f"nv-{name}{os.getpid()}", nodes=2, pods=2)) as made:
        for node in made.nodes:
            for table in ("nv-masq", "nv-filter"):
                run_on(made, node, ["nft", "delete", "table", "ip", table])
        yield made


@pytest.fixture(scope="module")
def bridged() -> Iterator[Cluster]:
    """The lab's pods on the lab's bridges."""
    yield from fresh("np")


def pairs(cluster: Cluster) -> list[Probe]:
    """Every exchange between pods, from the nodes, and to the internet."""
    names = list(cluster.pods)
    made = [Probe(a, b, p, n) for a in [*names, *NODES] for b in names if a != b for p, n in EXCHANGES]
    made += [Probe(a, node, p, n) for a in names for node in NODES for p, n in EXCHANGES]
    return made + [Probe(a, "internet", p, n) for a in names for p, n in EXCHANGES]


def ip(cluster: Cluster, where: str, *commands: str) -> None:
    """Run `ip` commands (or `bridge` ones) in a namespace."""
    for command in commands:
        words = command.split()
        run_on(cluster, where, words if words[0] == "bridge" else ["ip", *words])


def tunnel(cluster: Cluster, device: str, vni: int, port: int) -> None:
    """Join the nodes' pods by a VXLAN device without learning: a route, a neighbour and an entry for the peer."""
    for node, peer in zip(NODES, reversed(NODES), strict=True):
        me, other = cluster.address_of(node, 4), cluster.address_of(peer, 4)
        own, far = f"10.244.{node[-1]}.0", f"10.244.{peer[-1]}.0"
        link = f"link add {device} address {MACS[node]} mtu 1450 type vxlan id {vni} local {me} dev eth0"
        ip(
            cluster,
            node,
            f"{link} dstport {port} nolearning",
            f"addr add {own}/32 dev {device}",
            f"link set {device} up",
            f"neigh replace {far} lladdr {MACS[peer]} dev {device} nud permanent",
            f"bridge fdb append {MACS[peer]} dev {device} dst {other}",
            f"route replace {far}/24 via {far} dev {device} onlink",
        )


@contextmanager
def flannel_devices(cluster: Cluster) -> Iterator[None]:
    """Have flannel.1 on both nodes; afterwards the plain routes are back."""
    try:
        tunnel(cluster, "flannel.1", 1, 8472)
        yield
    finally:
        for node, peer in zip(NODES, reversed(NODES), strict=True):
            ip(cluster, node, "link del flannel.1")
            ip(cluster, node, f"route replace 10.244.{peer[-1]}.0/24 via {cluster.address_of(peer, 4)}")


@contextmanager
def ruled(cluster: Cluster, text: str, nft: str = "", legacy: bool = False) -> Iterator[None]:
    """Have rules on node1: of iptables (`text`), or of nftables, where `nft` names the tables."""
    try:
        if nft:
            run_on(cluster, "node1", ["nft", "-f", "-"], text)
        else:
            restore(cluster, "node1", text, legacy=legacy)
        yield
    finally:
        for table in nft.split(", ") if nft else ():
            run_on(cluster, "node1", ["nft", "-f", "-"], f"add table {table}\ndelete table {table}\n")
        program = "iptables-legacy" if legacy else "iptables"
        for table in () if nft else ("raw", "nat", "filter"):
            for option in ("-F", "-X"):
                run_on(cluster, "node1", [program, "-t", table, option])
        if not nft:
            run_on(cluster, "node1", [program, "-P", "FORWARD", "ACCEPT"])


FLANNEL = """*nat
:FLANNEL-POSTRTG - [0:0]
-A POSTROUTING -m comment --comment "flanneld masq" -j FLANNEL-POSTRTG
-A FLANNEL-POSTRTG -m mark --mark 0x4000/0x4000 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.1.0/24 -d 10.244.0.0/16 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 -d 10.244.1.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.1.0/24 -m comment --comment "flanneld masq" -j RETURN
-A FLANNEL-POSTRTG -s 10.244.0.0/16 ! -d 224.0.0.0/4 -m comment --comment "flanneld masq" -j MASQUERADE
-A FLANNEL-POSTRTG ! -s 10.244.0.0/16 -d 10.244.0.0/16 -m comment --comment "flanneld masq" -j MASQUERADE
COMMIT
*filter
:FORWARD DROP [0:0]
:FLANNEL-FWD - [0:0]
-A FORWARD -m comment --comment "flanneld forward" -j FLANNEL-FWD
-A FLANNEL-FWD -s 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
-A FLANNEL-FWD -d 10.244.0.0/16 -m comment --comment "flanneld forward" -j ACCEPT
COMMIT
"""
FLANNEL_NFT = """table ip flannel-ipv4 {
chain postrtg {
  type nat hook postrouting priority srcnat; policy accept;
  meta mark & 0x4000 == 0x4000 return
  ip saddr 10.244.1.0/24 ip daddr 10.244.0.0/16 return
  ip saddr 10.244.0.0/16 ip daddr 10.244.1.0/24 return
  ip saddr != 10.244.0.0/16 ip daddr 10.244.1.0/24 return
  ip saddr 10.244.0.0/16 ip daddr != 224.0.0.0/4 masquerade fully-random
  ip saddr != 10.244.0.0/16 ip daddr 10.244.0.0/16 masquerade fully-random
}
chain forward {
  type filter hook forward priority filter; policy drop;
  ip saddr 10.244.0.0/16 accept
  ip daddr 10.244.0.0/16 accept
}
}
"""


@pytest.mark.parametrize("mode", ["iptables", "legacy", "nftables"])
def test_flannel(bridged: Cluster, tmp_path: Path, mode: str) -> None:
    """flannel's VXLAN, masquerading and forwarding rules."""
    native = mode == "nftables"
    rules = ruled(
        bridged, FLANNEL_NFT if native else FLANNEL, "ip flannel-ipv4" if native else "", mode == "legacy"
    )
    with flannel_devices(bridged), rules:
        state, compared, unsure = hold(bridged, tmp_path, pairs(bridged))
    assert not unsure
    assert {c.outcome.result for c in compared} >= {"delivered", "refused"}
    between = said(predict(state, bridged, Probe("web-1", "web-2", "tcp", OPEN)))
    assert "flannel.1 is flannel's VXLAN device (VNI 1)." in between
    assert "That is flannel's rule that lets pods' traffic be forwarded." in between
    assert (
        "That is flannel's rule that leaves traffic between pods, and service traffic, as it is." in between
    )
    out = said(predict(state, bridged, Probe("web-1", "internet", "tcp", OPEN)))
    assert "That is flannel's masquerading of what enters or leaves the pod network." in out


KINDNET = """*nat
:KIND-MASQ-AGENT - [0:0]
-A POSTROUTING -m comment --comment "kind-masq-agent: ensure nat POSTROUTING directs all non-LOCAL destination traffic to our custom KIND-MASQ-AGENT chain" -m addrtype ! --dst-type LOCAL -j KIND-MASQ-AGENT
-A KIND-MASQ-AGENT -d 10.244.0.0/16 -m comment --comment "kind-masq-agent: local traffic is not subject to MASQUERADE" -j RETURN
-A KIND-MASQ-AGENT -m comment --comment "kind-masq-agent: outbound traffic is subject to MASQUERADE (must be last in chain)" -j MASQUERADE
COMMIT
"""
KINDNET_NFT = """table inet kindnet-ipmasq {
set noMasqV4 { type ipv4_addr; flags interval; auto-merge; elements = { 10.244.0.0/16 } }
set noMasqV6 { type ipv6_addr; flags interval; auto-merge; elements = { fd44::/16 } }
chain postrouting {
  type nat hook postrouting priority srcnat - 10; policy accept;
  ct state established,related accept
  fib daddr type local accept
  ip daddr @noMasqV4 accept
  ip6 daddr @noMasqV6 accept
  counter masquerade
}
}
"""


@pytest.mark.parametrize("mode", ["iptables", "legacy", "nftables"])
def test_kindnet(bridged: Cluster, tmp_path: Path, mode: str) -> None:
    """kindnet's masquerading, and its routes to the other node's pods."""
    native = mode == "nftables"
    rules = ruled(
        bridged, KINDNET_NFT if native else KINDNET, "inet kindnet-ipmasq" if native else "", mode == "legacy"
    )
    with rules:
        state, _compared, unsure = hold(bridged, tmp_path, pairs(bridged))
    assert not unsure
    between = said(predict(state, bridged, Probe("web-1", "web-2", "tcp", OPEN)))
    assert "That is kindnet's route to the pods of node node2." in between
    assert "That is kindnet's rule that leaves the cluster's own traffic as it is." in between
    out = said(predict(state, bridged, Probe("web-1", "internet", "tcp", OPEN)))
    assert "That is kindnet's masquerading of what leaves the cluster." in out
    assert "kindnet's route" not in out


CNI_NFT = """table ip cni_hostport {{
chain hostports {{ tcp dport 8081 dnat to {web1}:8080 comment "id-web-1"; }}
chain hostip_hostports {{ ip daddr {node1} tcp dport 8082 dnat to {api1}:8080 comment "id-api-1"; }}
chain prerouting {{
  type nat hook prerouting priority dstnat; policy accept;
  jump hostip_hostports
  jump hostports
}}
chain output {{
  type nat hook output priority -100; policy accept;
  jump hostip_hostports
  fib daddr type local jump hostports
}}
chain masquerading {{
  type nat hook postrouting priority srcnat; policy accept;
  ip saddr {web1} ip daddr {web1} masquerade comment "id-web-1"
  ip saddr 127.0.0.1 ip daddr {web1} masquerade comment "id-web-1"
}}
}}
table inet cni_plugins_masquerade {{
chain masq_checks {{
  ip saddr {web1} ip daddr != 10.244.1.0/24 masquerade comment "0123456789abcdef, net: nv-net, if: eth0, id: id-web-1"
}}
chain postrouting {{
  type nat hook postrouting priority srcnat; policy accept;
  ip daddr 224.0.0.0/4 return
  ip6 daddr ff00::/8 return
  goto masq_checks
}}
}}
"""


def test_cni_plugins_by_nftables(bridged: Cluster, tmp_path: Path) -> None:
    """The nftables backends of ipMasq and portmap, which plugins before 1.6 don't have."""
    web, api = bridged.address_of("web-1", 4), bridged.address_of("api-1", 4)
    text = CNI_NFT.format(web1=web, api1=api, node1=bridged.address_of("node1", 4))
    senders = ("web-1", "api-1", "web-2", "node1", "node2")
    ports = [Probe(a, "node1", "tcp", n) for a in senders for n in (8081, 8082, 8083)]
    with ruled(bridged, text, "ip cni_hostport, inet cni_plugins_masquerade"):
        state, _compared, unsure = hold(bridged, tmp_path, pairs(bridged) + ports)
    assert not unsure
    port = said(predict(state, bridged, Probe("node2", "node1", "tcp", 8081)))
    end = f"endpoint {web}:{OPEN} (pod default/web-1 on node1)"
    assert f"That is host port 8081 (CNI portmap plugin), {end}." in port
    hairpin = said(predict(state, bridged, Probe("web-1", "node1", "tcp", 8081)))
    assert "That is the CNI portmap plugin's masquerading of host port traffic." in hairpin
    out = said(predict(state, bridged, Probe("web-1", "internet", "tcp", OPEN)))
    assert 'That is the CNI plugin\'s masquerading of network "nv-net" (ipMasq).' in out


@pytest.fixture(scope="module")
def routed() -> Iterator[Cluster]:
    """Pods as Calico plugs them in, vxlan.calico between the nodes."""
    for made in fresh("ca"):
        for pod in made.pods:
            ip(made, pod, "link del eth0")
        for node in NODES:
            ip(made, node, "link del cni0", f"route add blackhole 10.244.{node[-1]}.0/26")
        for pod in made.pods:
            plug(made, pod)
        tunnel(made, "vxlan.calico", 4096, 4789)
        yield made


def device_of(pod: str) -> str:
    """The name of the pod's device on its node."""
    return {"web": WEB, "api": API}[pod.partition("-")[0]]


def plug(cluster: Cluster, pod: str) -> None:
    """Plug a pod in: a veth with Calico's MAC, proxy ARP, a route for the pod's address alone."""
    node, device, addr = cluster.pod(pod).node, device_of(pod), cluster.address_of(pod, 4)
    inside = cluster.netns_of(pod)
    pair = f"link add {device} address ee:ee:ee:ee:ee:ee type veth peer name eth0 netns {inside}"
    ip(cluster, node, pair, f"link set {device} up")
    conf = f"ipv4/conf/{device}"
    netns.set_sysctls(cluster.netns_of(node), {f"{conf}/proxy_arp": 1, f"{conf}/rp_filter": 1})
    ip(cluster, pod, f"addr add {addr}/32 dev eth0", "link set eth0 up")
    ip(
        cluster,
        pod,
        "route add 169.254.1.1 dev eth0 scope link",
        "route add default via 169.254.1.1 dev eth0",
    )
    ip(cluster, node, f"route add {addr}/32 dev {device} scope link")


@pytest.mark.parametrize("mode", ["iptables", "legacy", "nftables"])
def test_calico(routed: Cluster, tmp_path: Path, mode: str) -> None:
    """A network policy that lets one pod in by one port, NAT outgoing, the gateway 169.254.1.1, the tunnel."""
    native = mode == "nftables"
    nodes = tuple(routed.address_of(node, 4) for node in NODES)
    pods = calico_rules.Pods(
        routed.address_of("web-1", 4), routed.address_of("api-1", 4), "10.244.0.0/16", nodes
    )
    text = calico_rules.nftables(pods) if native else calico_rules.iptables(pods)
    try:
        run_on(routed, "node1", ["ipset", "restore"], calico_rules.ipsets(pods))
        with ruled(routed, text, "ip calico" if native else "", mode == "legacy"):
            state, compared, unsure = hold(routed, tmp_path, pairs(routed))
    finally:
        destroy_sets(routed)
    assert not unsure
    assert {c.outcome.result for c in compared} >= {"delivered", "refused", "lost"}
    allowed = said(predict(state, routed, Probe("api-1", "web-1", "tcp", OPEN)))
    assert "169.254.1.1 is the gateway of Calico's pods, for which " in allowed
    assert f"{API} is Calico's device that leads to pod default/api-1." in allowed
    assert "network policy default/from-api lets it in to pod default/web-1" in allowed
    assert "the profile of namespace default lets it out of pod default/api-1" in allowed
    assert "; a policy has accepted it (mark 0x10000)." in allowed
    denied = said(predict(state, routed, Probe("web-2", "web-1", "tcp", OPEN)))
    assert "network policy default/from-api: no policy lets it in to pod default/web-1" in denied
    assert "vxlan.calico is Calico's VXLAN device." in denied
    out = said(predict(state, routed, Probe("web-1", "internet", "tcp", OPEN)))
    assert "Calico's: masquerading of what pods send out of the pods' networks" in out
