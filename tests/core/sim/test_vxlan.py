"""VXLAN beyond flannel's way: bridged, with several remotes, learning, groups, and wrong settings.

    [pod-1-1] \\                                                            / [pod-2-1]
               br (node-1) - vx ==== VNI 9 over ens3, all other nodes ==== vx - br (node-2)
                                                                            \\ [pod-3-1] on node-3 likewise
    all pods in 10.8.0.0/24

Source: drivers/net/vxlan/vxlan_core.c, vxlan_xmit, vxlan_xmit_one, vxlan_rcv, vxlan_snoop (Linux 6.18).
"""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.l2 import NUD_NOARP, NUD_PERMANENT, Fdb
from netviz.core.model.l3 import FR_ACT_PROHIBIT, NexthopObject
from netviz.core.model.link import BridgePort, VxlanInfo
from netviz.core.sim.trace import Disposition, Trace
from netviz.core.sim.words.evidence import evidence_of
from tests.core.sim.build import Net, Ns
from tests.core.sim.nft import OUTPUT, chain, dport, e

ZERO = bytes(6)
NODES = (1, 2, 3)


def stretched(**fields: Any) -> tuple[Net, dict[str, Ns]]:
    """Build three nodes whose bridges are joined by VXLAN devices with each other node as default remote."""
    net = Net()
    made: dict[str, Ns] = {}
    for n in NODES:
        node = made[f"node-{n}"] = net.node(f"node-{n}")
        node.nic("ens3", f"192.168.0.{n}/24")
        node.bridge("br")
        info = VxlanInfo(9, local=pack_ip(f"192.168.0.{n}"), port=4789, **fields)
        bridge = node.named("br").ifindex
        vx = node.link(
            "vx", "vxlan", info=info, mtu=1450, master=bridge, port=BridgePort(), slave_kind="bridge"
        )
        for m in NODES:
            if m != n:
                remote = Fdb(vx.ifindex, ZERO, state=NUD_PERMANENT, dst=pack_ip(f"192.168.0.{m}"))
                node.add("fdb", remote)
        pod = made[f"pod-{n}"] = net.pod(node, f"pod-{n}", "br", f"10.8.0.{n}/24")
        pod.listen("tcp", 80)
        pod.listen("udp", 53)
    return net, made


def ends(trace: Trace) -> tuple[Disposition, Disposition | None]:
    reply = trace.branches[0].reply
    return trace.disposition, reply.disposition if reply is not None else None


BOTH = (Disposition.DELIVERED, Disposition.DELIVERED)


@pytest.mark.parametrize("learning", [True, False])
@pytest.mark.parametrize("target", [2, 3])
def test_copies_go_to_all_remotes_and_the_one_that_arrives_is_followed(learning: bool, target: int) -> None:
    net, _made = stretched(learning=learning)
    trace = net.trace("pod-1", f"pod-{target}")
    assert (ends(trace), len(trace.branches)) == (BOTH, 1)
    reply = trace.branches[0].reply
    assert reply is not None
    floods = [
        [s for h in path.hops for s in h.steps if (s.dev, s.action) == ("vx", "flood")]
        for path in (trace.branches[0].forward, reply)
    ]
    if learning:  # question and answer have shown both devices where the other pod is
        assert floods == [[], []]
    else:
        assert evidence_of(floods[0][0])["remotes"] == ["192.168.0.2", "192.168.0.3"]
        assert floods[1]


def test_misses_are_only_told_of() -> None:
    net, _made = stretched(l2miss=True, l3miss=True)
    assert ends(net.trace("pod-1", "pod-2")) == BOTH


def test_a_question_that_its_own_tunnel_packet_needs_answered_gets_no_answer() -> None:
    net, made = stretched()
    made["node-1"].addr("br", "10.8.0.254/24")  # the remote 10.8.0.77 is behind the bridge that floods to it
    vx = made["node-1"].named("vx").ifindex
    made["node-1"].add("fdb", Fdb(vx, ZERO, state=NUD_PERMANENT, dst=pack_ip("10.8.0.77")))
    assert net.trace("pod-1", "10.8.0.77").reason == "NEIGH_FAILED"


@pytest.mark.parametrize(("changes", "reason"), [({"vni": 10}, "VNI"), ({"port": 4790}, "port")])
def test_wrong_settings_of_one_node_cut_it_off(changes: dict[str, Any], reason: str) -> None:
    net, made = stretched()
    info = made["node-2"].named("vx").info
    made["node-2"].change("vx", info=msgspec.structs.replace(info, **changes))
    assert net.trace("pod-1", "pod-2").reason == "NEIGH_FAILED", reason
    assert ends(net.trace("pod-1", "pod-3")) == BOTH
    made["pod-1"].neigh("eth0", "10.8.0.2", made["pod-2"].named("eth0").mac)
    assert net.trace("pod-1", "pod-2").reason == "OTHERHOST"
    mac = made["pod-2"].named("eth0").mac
    made["node-1"].fdb("vx", mac, NUD_NOARP)
    made["node-1"].fdb("vx", mac, NUD_PERMANENT, dst=pack_ip("192.168.0.2"), master=0)
    expected = "VXLAN_VNI_NOT_FOUND" if "vni" in changes else "NO_SOCKET"
    assert net.trace("pod-1", "pod-2").reason == expected


def test_a_default_remote_that_was_deleted_is_gone() -> None:
    """The device's own remote is an entry of its table; without it nothing is sent (NO_TX_TARGET)."""
    net, made = stretched(remote=pack_ip("192.168.0.2"))
    made["node-1"].lists["fdb"] = []
    made["node-1"].fdb("vx", made["pod-2"].named("eth0").mac, NUD_NOARP)
    made["pod-1"].neigh("eth0", "10.8.0.2", made["pod-2"].named("eth0").mac)
    assert net.trace("pod-1", "pod-2").reason == "NO_TX_TARGET"


def test_a_static_entry_for_another_remote_refuses_the_frame() -> None:
    net, made = stretched()
    mac = made["pod-1"].named("eth0").mac
    made["node-2"].fdb("vx", mac, NUD_PERMANENT, dst=pack_ip("192.168.0.3"), master=0)
    made["pod-1"].neigh("eth0", "10.8.0.2", made["pod-2"].named("eth0").mac)
    target = made["pod-2"].named("eth0").mac
    made["node-1"].fdb("vx", target, NUD_PERMANENT, dst=pack_ip("192.168.0.2"), master=0)
    assert net.trace("pod-1", "pod-2").reason == "VXLAN_ENTRY_EXISTS"


def test_a_nexthop_group_makes_a_branch_a_member() -> None:
    net, made = stretched()
    node = made["node-1"]
    for ident, n in ((1, 2), (2, 3)):
        node.add("nexthops", NexthopObject(ident, gateway=pack_ip(f"192.168.0.{n}")))
    node.add("nexthops", NexthopObject(9, group=((1, 3), (2, 1))))
    mac = made["pod-2"].named("eth0").mac
    made["pod-1"].neigh("eth0", "10.8.0.2", mac)
    node.fdb("vx", mac, NUD_PERMANENT, nhid=9, master=0)
    trace = net.trace("pod-1", "pod-2")
    assert [b.probability for b in trace.branches] == [0.75, 0.25]
    assert [b.forward.disposition for b in trace.branches] == [Disposition.DELIVERED, Disposition.DROPPED]


@pytest.mark.parametrize("field", ["proxy", "rsc", "gpe"])
def test_settings_that_are_not_modelled_are_named(field: str) -> None:
    net, made = stretched(**{field: True})
    made["pod-1"].neigh("eth0", "10.8.0.2", made["pod-2"].named("eth0").mac)
    assert net.trace("pod-1", "pod-2").reason == f"vxlan {field}"


def test_a_multicast_remote_is_named() -> None:
    net, made = stretched()
    vx = made["node-1"].named("vx").ifindex
    made["node-1"].lists["fdb"] = [Fdb(vx, ZERO, state=NUD_PERMANENT, dst=pack_ip("239.1.1.1"))]
    made["pod-1"].neigh("eth0", "10.8.0.2", made["pod-2"].named("eth0").mac)
    assert net.trace("pod-1", "pod-2").reason == "vxlan multicast group"


def test_an_external_device_drops_what_nobody_told_it_about() -> None:
    net, made = stretched(collect_metadata=True)
    made["pod-1"].neigh("eth0", "10.8.0.2", made["pod-2"].named("eth0").mac)
    assert net.trace("pod-1", "pod-2").reason == "TUNNEL_TXINFO"


@pytest.mark.parametrize(
    ("length", "df", "expected"), [(1250, True, ""), (1251, True, "PKT_TOO_BIG"), (1251, False, "")]
)
def test_a_bridge_port_tells_of_a_small_underlay(length: int, df: bool, expected: str) -> None:
    """As a bridge's port the device answers what doesn't fit with ICMP; without DF the outer packet is fragmented."""
    net, made = stretched()
    made["node-1"].change("ens3", mtu=1300)
    made["pod-1"].sysctl("net.ipv4.ip_no_pmtu_disc", 1)
    assert net.trace("pod-1", "pod-2", "udp", 53, length=length, df=df).reason == expected


def test_the_outer_packet_keeps_the_mark() -> None:
    """A packet that was marked for masquerading is marked outside too (as kube-proxy's users have found)."""
    net, made = stretched()
    made["node-1"].addr("br", "10.8.0.101/24")
    trace = net.trace("node-1", "pod-2", mark=0x4000)
    step = next(s for h in trace.branches[0].forward.hops for s in h.steps if s.action == "encapsulate")
    assert step.packet.mark == 0x4000


def pointed(oif: int = 0) -> tuple[Net, dict[str, Ns]]:
    """Let node-1 know where pod-2's MAC is, by its bridge and its tunnel device, and pod-1 the MAC."""
    net, made = stretched()
    mac, node = made["pod-2"].named("eth0").mac, made["node-1"]
    made["pod-1"].neigh("eth0", "10.8.0.2", mac)
    node.fdb("vx", mac, NUD_NOARP)
    remote = pack_ip("192.168.0.2")
    node.add("fdb", Fdb(node.named("vx").ifindex, mac, state=NUD_PERMANENT, dst=remote, oif=oif))
    return net, made


def rewrite(node: Ns, base: int, offset: int, data: bytes) -> None:
    """Change the outer packets that a node sends."""
    write = e("payload", sreg=1, base=base, offset=offset, len=len(data), csum_type=1)
    chain(node, "out", (*dport(4789), e("immediate", dreg=1, data=data), write), hook=OUTPUT)


@pytest.mark.parametrize(("tos", "reason"), [(0, "IP_TUNNEL_ECN"), (1, "")])
def test_a_congestion_mark_outside_needs_a_sender_that_knows_of_them(tos: int, reason: str) -> None:
    """__INET_ECN_decapsulate: what says that it isn't capable is dropped, other packets get the mark."""
    net, made = pointed()
    rewrite(made["node-1"], 1, 0, b"\x45\x03")
    trace = net.trace("pod-1", "pod-2", tos=tos)
    assert trace.reason == reason
    if not reason:
        assert trace.branches[0].forward.hops[-1].steps[-1].packet.tos == 3


def test_a_tunnel_packet_for_a_programs_port_reaches_no_tunnel_device() -> None:
    """Nobody hears a question that goes this way either: that is known."""
    for (net, made), reason in ((pointed(), "NOT_SPECIFIED"), (stretched(), "NEIGH_FAILED")):
        made["node-2"].listen("udp", 8080)
        made["node-3"].listen("udp", 8080)
        rewrite(made["node-1"], 2, 2, (8080).to_bytes(2, "big"))
        assert net.trace("pod-1", "pod-2").reason == reason


@pytest.mark.parametrize(("oif", "expected"), [("", "IP_OUTNOROUTES"), ("ens3", "")])
def test_only_an_entrys_own_device_binds_the_outer_packet(oif: str, expected: str) -> None:
    """vxlan_fdb_parse: an entry without a device has none, whatever the tunnel device is on."""
    ens3 = stretched()[1]["node-1"].named("ens3").ifindex
    net, made = pointed(ens3 if oif else 0)
    node = made["node-1"]
    info = node.named("vx").info
    assert isinstance(info, VxlanInfo)
    node.change("vx", info=msgspec.structs.replace(info, link=ens3))
    node.rule(10, oifname="ens3", invert=True, action=FR_ACT_PROHIBIT)
    assert net.trace("pod-1", "pod-2").reason == expected
