"""IPIP, SIT, GRE, ip6tnl, gretap and Geneve between nodes, from constructed state: the kernel of the tests has none.

    [pod-1-1] - cni0 - tun0 (node-1) ens3 ==== outer ==== ens3 (node-2) tun0 - cni0 - [pod-2-1]
    10.1.1.0/24          192.168.0.1                192.168.0.2               10.1.2.0/24

Source: net/ipv4/ip_tunnel.c, ip_tunnel_xmit, tnl_update_pmtu, ip_tunnel_lookup; ipip.c; ip_gre.c; net/ipv6/sit.c;
ip6_tunnel.c; drivers/net/geneve.c, geneve_lookup_skb (Linux 6.18).
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.l3 import RTNH_F_ONLINK, Nexthop
from netviz.core.model.link import ARPHRD_NONE, IFF_LOWER_UP, IFF_NOARP, IFF_POINTOPOINT, IFF_UP, TunnelInfo
from netviz.core.sim.trace import Disposition, Trace
from tests.core.sim.build import UP, Net, Ns, textbook

GRE_KEY = 0x2000
POINT = IFF_UP | IFF_LOWER_UP | IFF_NOARP | IFF_POINTOPOINT
OVER6 = ("ip6tnl", "ip6gre", "ip6gretap")


def joined(
    kind: str, changes: dict[int, dict[str, Any]] | None = None, **fields: Any
) -> tuple[Net, dict[str, Ns]]:
    """Join two nodes by a tunnel of a kind; `changes` are a node's own."""
    net, made = textbook()
    ether = kind in ("geneve", "gretap", "ip6gretap")
    for n in (1, 2):
        node, m = made[f"node-{n}"], 3 - n
        node.addr("ens3", f"fd00:9::{n}/64")
        pod = made[f"pod-{n}-1"]
        node.addr("cni0", f"fd44:{n}::1/64")
        pod.addr("eth0", f"fd44:{n}::11/64")
        pod.route("::/0", f"fd44:{n}::1")
        pod.listen("tcp", 80, "::", v6only=True)
        ends = [f"fd00:9::{n}", f"fd00:9::{m}"] if kind in OVER6 else [f"192.168.0.{n}", f"192.168.0.{m}"]
        info = TunnelInfo(local=pack_ip(ends[0]), remote=pack_ip(ends[1]), **fields)
        if kind == "geneve":
            info = TunnelInfo(remote=pack_ip(ends[1]), vni=5, port=6081)
        info = msgspec.structs.replace(info, **(changes or {}).get(n, {}))
        extra = {"flags": UP} if ether else {"flags": POINT, "arptype": ARPHRD_NONE, "mac": b""}
        node.link("tun0", kind, info=info, mtu=1400, **extra)
        node.no_route(f"10.1.{m}.0/24")
        if ether:
            node.addr("tun0", f"10.99.0.{n}/24")
            node.addr("tun0", f"fd99::{n}/64")
            node.route(f"10.1.{m}.0/24", f"10.99.0.{m}")
            node.route(f"fd44:{m}::/64", f"fd99::{m}")
        else:
            node.route(f"10.1.{m}.0/24", dev="tun0")
            node.route(f"fd44:{m}::/64", dev="tun0")
    return net, made


def ends(trace: Trace) -> tuple[Disposition, Disposition | None]:
    reply = trace.branches[0].reply
    return trace.disposition, reply.disposition if reply is not None else None


def outer(trace: Trace) -> dict[str, Any]:
    step = next(s for h in trace.branches[0].forward.hops for s in h.steps if s.action == "encapsulate")
    found: Any = step.packet.fields()["encap"]
    return dict(found[0])


BOTH = (Disposition.DELIVERED, Disposition.DELIVERED)


@pytest.mark.parametrize(
    ("kind", "overhead", "proto"),
    [
        ("ipip", 20, "4"),
        ("gre", 24, "47"),
        ("ip6tnl", 40, "4"),
        ("ip6gre", 44, "47"),
        ("gretap", 38, "47"),
        ("ip6gretap", 58, "47"),
        ("geneve", 50, "udp"),
    ],
)
def test_constructed_tunnel_carries_ipv4(kind: str, overhead: int, proto: str) -> None:
    net, _made = joined(kind)
    trace = net.trace("pod-1-1", "pod-2-1")
    assert ends(trace) == BOTH
    assert (outer(trace)["len"], outer(trace)["proto"]) == (60 + overhead, proto)


@pytest.mark.parametrize("kind", ["sit", "gre", "ip6tnl", "ip6gre", "gretap", "geneve"])
def test_constructed_tunnel_carries_ipv6(kind: str) -> None:
    net, _made = joined(kind)
    assert ends(net.trace("fd44:1::11", "fd44:2::11")) == BOTH


def test_constructed_ipip_carries_no_ipv6() -> None:
    net, _made = joined("ipip")
    assert net.trace("fd44:1::11", "fd44:2::11").disposition is Disposition.DROPPED


def test_constructed_ipip_without_a_remote_follows_the_next_hop() -> None:
    """Calico: tunl0 has no remote, the route's next hop is the other node."""
    net, made = joined("ipip", {n: {"remote": b"", "local": b""} for n in (1, 2)})
    for n in (1, 2):
        node = made[f"node-{n}"]
        node.no_route(f"10.1.{3 - n}.0/24")
        via = Nexthop(node.named("tun0").ifindex, pack_ip(f"192.168.0.{3 - n}"), flags=RTNH_F_ONLINK)
        node.route(f"10.1.{3 - n}.0/24", nexthops=(via,), scope=0)
    assert ends(net.trace("pod-1-1", "pod-2-1")) == BOTH


@pytest.mark.parametrize("kind", ["ipip", "gre", "gretap"])
def test_constructed_tunnel_from_another_address_is_refused(kind: str) -> None:
    net, _made = joined(kind, {2: {"remote": pack_ip("192.168.0.77")}})
    assert net.trace("pod-1-1", "pod-2-1").disposition in (Disposition.DROPPED,)


def test_constructed_gre_keys_must_agree() -> None:
    keyed = {"iflags": GRE_KEY, "oflags": GRE_KEY, "ikey": 7, "okey": 7}
    net, _made = joined("gre", {1: keyed, 2: keyed})
    trace = net.trace("pod-1-1", "pod-2-1")
    assert (ends(trace), outer(trace)["len"]) == (BOTH, 60 + 28)
    for other in ({**keyed, "ikey": 8}, {}):
        net, _made = joined("gre", {1: keyed, 2: other})
        assert net.trace("pod-1-1", "pod-2-1").disposition is Disposition.DROPPED


@pytest.mark.parametrize("changes", [{"vni": 6}, {"remote": pack_ip("192.168.0.77")}, {"port": 6082}])
def test_constructed_geneve_needs_vni_remote_and_port(changes: dict[str, Any]) -> None:
    net, made = joined("geneve", {2: changes})
    made["node-1"].neigh("tun0", "10.99.0.2", made["node-2"].named("tun0").mac)
    trace = net.trace("pod-1-1", "pod-2-1")
    expected = "NO_SOCKET" if "port" in changes else "NOT_SPECIFIED"
    assert (trace.disposition, trace.reason) == (Disposition.DROPPED, expected)


def test_constructed_ipip_tells_the_sender_of_a_small_way() -> None:
    """With DF, what is larger than the way's MTU less 20 is refused; without pmtudisc the device's MTU counts."""
    net, made = joined("ipip")
    made["node-1"].change("tun0", mtu=1480)
    made["node-1"].change("ens3", mtu=1300)
    assert (
        net.trace("pod-1-1", "pod-2-1", "udp", 53, length=1280, df=True).disposition is Disposition.DELIVERED
    )
    trace = net.trace("pod-1-1", "pod-2-1", "udp", 53, length=1281, df=True)
    assert (trace.disposition, trace.reason) == (Disposition.DROPPED, "PKT_TOO_BIG")
    made["node-1"].change(
        "tun0", info=msgspec.structs.replace(made["node-1"].named("tun0").info, pmtudisc=False)
    )
    assert (
        net.trace("pod-1-1", "pod-2-1", "udp", 53, length=1281).reason == "PKT_TOO_BIG"
    )  # the outer inherits DF
    made["pod-1-1"].sysctl("net.ipv4.ip_no_pmtu_disc", 1)
    assert net.trace("pod-1-1", "pod-2-1", "udp", 53, length=1281).disposition is Disposition.DELIVERED


def test_constructed_ipip_inherits_the_ttl_unless_it_has_one() -> None:
    net, _made = joined("ipip")
    assert outer(net.trace("pod-1-1", "pod-2-1", ttl=9))["ttl"] == 8
    net, _made = joined("ipip", ttl=33)
    assert outer(net.trace("pod-1-1", "pod-2-1", ttl=9))["ttl"] == 33


def test_constructed_tunnel_keeps_its_packets_mark() -> None:
    """The outer packet is the inner one's skb: what was marked is marked outside too."""
    net, _made = joined("geneve")
    assert outer(net.trace("node-1", "pod-2-1", mark=0x4000))["mark"] == 0x4000


@pytest.mark.parametrize(
    ("kind", "changes"),
    [
        ("gre", {"oflags": 0x8000}),
        ("gre", {"collect_metadata": True}),
        ("ipip", {"encap_type": 1}),
        ("geneve", {"remote": b"", "collect_metadata": True}),
        ("sit", {"remote": b""}),
    ],
)
def test_constructed_tunnel_settings_are_unknown_by_name(kind: str, changes: dict[str, Any]) -> None:
    net, made = joined(kind, {1: changes})
    if kind == "geneve":
        made["node-1"].neigh("tun0", "10.99.0.2", made["node-2"].named("tun0").mac)
    source, target = ("fd44:1::11", "fd44:2::11") if kind == "sit" else ("pod-1-1", "pod-2-1")
    trace = net.trace(source, target)
    assert (trace.disposition, kind in trace.reason) == (Disposition.UNKNOWN, True)


def test_constructed_tunnel_made_in_another_namespace() -> None:
    """tun0 was moved into the pod's namespace: its outer packets still travel in the node's."""
    net, made = joined("ipip")
    for n in (1, 2):
        node, pod, m = made[f"node-{n}"], made[f"pod-{n}-2"], 3 - n
        info = node.named("tun0").info
        node.down("tun0")
        del node.links[node.named("tun0").ifindex]
        nsid = pod.nsids.setdefault(node.key, 7)
        pod.link("tun1", "ipip", info=info, flags=POINT, arptype=ARPHRD_NONE, mac=b"", link_nsid=nsid)
        pod.addr("tun1", f"10.77.{n}.1/32")
        pod.route(f"10.77.{m}.1/32", dev="tun1")
    trace = net.trace("pod-1-2", "10.77.2.1", "tcp", 80)
    assert ends(trace) == BOTH
