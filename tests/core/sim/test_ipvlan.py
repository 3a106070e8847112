"""IPvlans, from constructed state: the kernel of the tests has none.

    [a] ipvl 192.168.0.11 \\
                            ens3 192.168.0.1 (node-1) ---- wire ---- ens3 192.168.0.2 (node-2)
    [b] ipvl 192.168.0.12 /

Source: drivers/net/ipvlan/ipvlan_core.c, ipvlan_xmit_mode_l2, ipvlan_xmit_mode_l3, ipvlan_process_multicast,
ipvlan_handle_frame; ipvlan_l3s.c (Linux 6.18).
"""

from __future__ import annotations

import pytest

from netviz.core.model.link import IFF_NOARP, IpvlanInfo
from netviz.core.model.netfilter import NF_DROP, NF_LOCAL_IN, NF_LOCAL_OUT
from netviz.core.sim.link.ipvlan import L2, L3, L3S, PRIVATE, VEPA
from netviz.core.sim.trace import Disposition, Trace
from tests.core.sim.build import UP, Net, Ns
from tests.core.sim.nft import chain


def ipvlans(mode: int, flags: int = 0) -> tuple[Net, dict[str, Ns]]:
    net = Net()
    made: dict[str, Ns] = {}
    for n in (1, 2):
        node = made[f"node-{n}"] = net.node(f"node-{n}")
        node.nic("ens3", f"192.168.0.{n}/24")
        node.listen("tcp", 80)
    node = made["node-1"]
    lower = node.named("ens3")
    for name, last in (("a", 11), ("b", 12)):
        pod = made[name] = net.netns("node-1", name)
        nsid = pod.nsids.setdefault(node.key, 0)
        arp = 0 if mode == L2 else IFF_NOARP
        info = IpvlanInfo(mode, flags)
        pod.link(
            "ipvl", "ipvlan", info=info, link=lower.ifindex, link_nsid=nsid, mac=lower.mac, flags=UP | arp
        )
        pod.addr("ipvl", f"192.168.0.{last}/24")
        pod.listen("tcp", 80)
        if mode != L2:  # nobody answers ARP for an ipvlan's address in these modes
            made["node-2"].neigh("ens3", f"192.168.0.{last}", lower.mac)
    return net, made


def decisions(trace: Trace) -> list[str]:
    return [s.action for h in trace.branches[0].forward.hops for s in h.steps]


@pytest.mark.parametrize("mode", [L2, L3, L3S])
def test_constructed_ipvlan_siblings_meet_by_address(mode: int) -> None:
    net, _made = ipvlans(mode)
    trace = net.trace("a", "b")
    assert (trace.disposition, "to sibling" in decisions(trace)) == (Disposition.DELIVERED, True)
    reply = trace.branches[0].reply
    assert reply is not None
    assert reply.disposition is Disposition.DELIVERED


@pytest.mark.parametrize("mode", [L3, L3S])
def test_constructed_ipvlan_private_siblings_do_not(mode: int) -> None:
    net, _made = ipvlans(mode, PRIVATE)
    assert (net.trace("a", "b").disposition, net.trace("a", "b").reason) == (Disposition.DROPPED, "CONSUMED")


@pytest.mark.parametrize("flags", [PRIVATE, VEPA])
def test_constructed_ipvlan_l2_apart_from_its_siblings(flags: int) -> None:
    """The question is heard by the sibling; its answer is dropped, or goes out to the switch alone."""
    net, _made = ipvlans(L2, flags)
    assert net.trace("a", "b").disposition is not Disposition.DELIVERED


@pytest.mark.parametrize("mode", [L2, L3, L3S])
@pytest.mark.parametrize(("source", "target"), [("a", "node-2"), ("node-2", "a")])
def test_constructed_ipvlan_and_another_node(mode: int, source: str, target: str) -> None:
    net, _made = ipvlans(mode)
    address = {"a": "192.168.0.11", "node-2": "192.168.0.2"}[target]
    trace = net.trace(source, address, "tcp", 80)
    assert trace.disposition is Disposition.DELIVERED
    reply = trace.branches[0].reply
    assert reply is not None
    assert reply.disposition is Disposition.DELIVERED


def test_constructed_ipvlan_l2_does_not_reach_its_master() -> None:
    net, _made = ipvlans(L2)
    assert net.trace("a", "192.168.0.1", "tcp", 80).disposition is not Disposition.DELIVERED


def test_constructed_ipvlan_l3_is_routed_by_its_masters_namespace() -> None:
    """OUTPUT of the node drops what a sends to another node, in l3 as in l3s."""
    net, made = ipvlans(L3)
    chain(made["node-1"], "out", hook=NF_LOCAL_OUT, policy=NF_DROP)
    assert net.trace("a", "192.168.0.2", "tcp", 80).reason == "NETFILTER_DROP"
    assert net.trace("a", "b").disposition is Disposition.DELIVERED


@pytest.mark.parametrize("mode", [L3, L3S])
def test_constructed_ipvlan_l3s_passes_the_masters_input(mode: int) -> None:
    """What comes in passes INPUT of the node in mode l3s, and by it in mode l3."""
    net, made = ipvlans(mode)
    chain(made["node-1"], "in", hook=NF_LOCAL_IN, policy=NF_DROP)
    expected = Disposition.DROPPED if mode == L3S else Disposition.DELIVERED
    assert net.trace("node-2", "192.168.0.11", "tcp", 80).disposition is expected
