"""Small clusters of each kind of pod network, as its programs build them, for the check of all pairs.

textbook   bridges and routes over one underlay
flannel    bridges, a VXLAN device, permanent neighbours and FDB entries for the other nodes, flannel's rules
calico     no bridge: a route to each pod's veth, proxy ARP at 169.254.1.1, Felix's dispatch chains
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from netviz.core.model.addr import format_ip
from netviz.core.model.l2 import NUD_PERMANENT, NUD_REACHABLE
from netviz.core.model.netns import Pod
from tests.core.sim.build import Net, Ns, textbook
from tests.core.sim.nft import (
    ACCEPT,
    DROP,
    FORWARD,
    GOTO,
    JUMP,
    POSTROUTING,
    RETURN,
    chain,
    e,
    verdict,
)

Made = dict[str, Ns]
Builder = Callable[[int, int], tuple[Net, Made]]


def net_of(cidr: str, offset: int = 12, op: int = 0) -> tuple:
    """Compare an address with a prefix, as iptables-nft writes it."""
    net = ipaddress.ip_network(cidr)
    return (
        e("payload", dreg=1, base=1, offset=offset, len=4),
        e("bitwise", sreg=1, dreg=1, len=4, op=0, mask=net.netmask.packed, xor=bytes(4)),
        e("cmp", sreg=1, op=op, data=net.network_address.packed),
    )


def iifname(name: str) -> tuple:
    """Compare the device by which a packet came in."""
    return e("meta", dreg=1, key=6), e("cmp", sreg=1, op=0, data=name.encode() + b"\0")


def oifname(name: str) -> tuple:
    """Compare the device by which a packet goes out."""
    return e("meta", dreg=1, key=7), e("cmp", sreg=1, op=0, data=name.encode() + b"\0")


def flannel(nodes: int = 3, pods: int = 3) -> tuple[Net, Made]:
    """Build flannel's VXLAN network, pods 10.244.N.0/24."""
    net, made = Net(), {}
    ends = {}
    for n in range(1, nodes + 1):
        node = made[f"node-{n}"] = net.node(f"node-{n}")
        node.nic("ens3", f"192.168.0.{n}/24")
        node.route("0.0.0.0/0", "192.168.0.254")
        node.bridge("cni0", f"10.244.{n}.1/24")
        ends[n] = node.vxlan("flannel.1", 1, f"192.168.0.{n}", f"10.244.{n}.0/32")
    for n in range(1, nodes + 1):
        node = made[f"node-{n}"]
        for other in range(1, nodes + 1):
            if other == n:
                continue
            node.route(f"10.244.{other}.0/24", f"10.244.{other}.0", "flannel.1")
            node.neigh("flannel.1", f"10.244.{other}.0", ends[other].mac, NUD_PERMANENT)
            node.fdb("flannel.1", ends[other].mac, NUD_PERMANENT, dst=bytes((192, 168, 0, other)))
        for p in range(1, pods + 1):
            name = f"pod-{n}-{p}"
            pod = made[name] = net.pod(
                node, name, "cni0", f"10.244.{n}.{10 + p}/24", via=f"10.244.{n}.1", mtu=1450
            )
            pod.listen("tcp", 80)
        masquerade(node, f"10.244.{n}.0/24")
    return net, made


def masquerade(node: Ns, own: str) -> None:
    """Write flannel's chain of POSTROUTING."""
    chain(
        node,
        "FLANNEL-POSTRTG",
        (*net_of("10.244.0.0/16"), *net_of("10.244.0.0/16", 16), verdict(RETURN)),
        (*net_of("10.244.0.0/16", op=1), *net_of(own, 16), verdict(RETURN)),
        (*net_of("10.244.0.0/16"), *net_of("224.0.0.0/4", 16, op=1), e("masq", flags=0)),
        (*net_of("10.244.0.0/16", op=1), *net_of("10.244.0.0/16", 16), e("masq", flags=0)),
        tbl="nat",
    )
    chain(
        node,
        "POSTROUTING",
        (verdict(JUMP, "FLANNEL-POSTRTG"),),
        hook=POSTROUTING,
        priority=100,
        type="nat",
        tbl="nat",
    )


def calico(nodes: int = 3, pods: int = 3) -> tuple[Net, Made]:
    """Build Calico's routed network, pods 10.65.N.0/26, with Felix's chains of workloads."""
    net, made = Net(), {}
    for n in range(1, nodes + 1):
        node = made[f"node-{n}"] = net.node(f"node-{n}")
        node.nic("ens3", f"192.168.0.{n}/24")
        node.route("0.0.0.0/0", "192.168.0.254")
        for other in range(1, nodes + 1):
            if other != n:
                node.route(f"10.65.{other}.0/26", f"192.168.0.{other}")
        node.route(f"10.65.{n}.0/26", type=6)
        for p in range(1, pods + 1):
            name = f"pod-{n}-{p}"
            made[name] = workload(net, node, name, f"10.65.{n}.{10 + p}")
        felix(node, [f"cali{n}{p}" for p in range(1, pods + 1)])
    return net, made


def workload(net: Net, node: Ns, name: str, addr: str) -> Ns:
    """Make a pod as Calico's plugin does."""
    pod = net.netns(node.key.node, f"{node.key.node}-{name}", pod=Pod(name, "default", source="cri"))
    end = f"cali{name.removeprefix('pod-').replace('-', '')}"
    net.veth(pod, "eth0", node, end)
    node.conf4(end, proxy_arp=1)
    pod.addr("eth0", f"{addr}/32")
    pod.route("169.254.1.1/32", dev="eth0")
    pod.route("0.0.0.0/0", "169.254.1.1", "eth0")
    node.route(f"{addr}/32", dev=end)
    pod.listen("tcp", 80)
    return pod


def felix(node: Ns, ends: list[str]) -> None:
    """Write Felix's chains: dispatch by device, one chain for each workload, one policy for all."""
    chain(node, "cali-pri-kns.default", (*net_of("10.65.0.0/16"), verdict(ACCEPT)))
    for end in ends:
        for way in ("tw", "fw"):
            chain(node, f"cali-{way}-{end}", (verdict(JUMP, "cali-pri-kns.default"),), (verdict(DROP),))
    chain(node, "cali-from-wl-dispatch", *((*iifname(end), verdict(GOTO, f"cali-fw-{end}")) for end in ends))
    chain(node, "cali-to-wl-dispatch", *((*oifname(end), verdict(GOTO, f"cali-tw-{end}")) for end in ends))
    chain(
        node,
        "cali-FORWARD",
        (*oifname("ens3"), verdict(RETURN)),
        (verdict(JUMP, "cali-to-wl-dispatch"),),
    )
    chain(node, "FORWARD", (verdict(JUMP, "cali-FORWARD"),), hook=FORWARD)


def busy(net: Net, made: Made) -> None:
    """Let every second pod have talked: entries for its gateway, its MAC on the bridge, its address on the node."""
    for name, pod in made.items():
        if not name.startswith("pod-") or not name.endswith("2"):
            continue
        node = made[f"node-{name.split('-')[1]}"]
        end = next(link for link in node.links.values() if link.ifname in end_names(name))
        addr = format_ip(next(a for a in pod.lists["addrs"] if a.ifindex == 2).addr)
        bridge = node.links.get(end.master)
        if bridge is None:
            pod.neigh("eth0", "169.254.1.1", end.mac, NUD_REACHABLE)
            node.neigh(end.ifname, addr, pod.named("eth0").mac, NUD_REACHABLE)
            continue
        via = next(a for a in node.lists["addrs"] if a.ifindex == bridge.ifindex)
        pod.neigh("eth0", format_ip(via.addr), bridge.mac, NUD_REACHABLE)
        node.neigh(bridge.ifname, addr, pod.named("eth0").mac, NUD_REACHABLE)
        node.fdb(end.ifname, pod.named("eth0").mac, NUD_REACHABLE)


def end_names(pod: str) -> tuple[str, str]:
    """Name the node's end of a pod's veth, as the kinds of network do."""
    return f"veth-{pod}", f"cali{pod.removeprefix('pod-').replace('-', '')}"


KINDS: dict[str, Builder] = {"textbook": textbook, "flannel": flannel, "calico": calico}
