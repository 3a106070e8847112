"""IPVS, from constructed state: the kernel of the tests has none.

    [pod-1-1] - cni0 (node-1) ens3 ---- ens3 (node-2) cni0 - [pod-2-1], [pod-2-2]
                 kube-ipvs0 10.96.0.1:80 -> the pods of node-2

Source: net/netfilter/ipvs/ip_vs_core.c, ip_vs_in_hook, ip_vs_out_hook, ip_vs_leave; ip_vs_xmit.c,
ip_vs_nat_xmit, ip_vs_dr_xmit; ip_vs_nfct.c, ip_vs_update_conntrack (Linux 6.18).
"""

from __future__ import annotations

from typing import Any

import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.ipvs import IpvsConn, IpvsServer, IpvsService
from netviz.core.model.link import IFF_NOARP
from netviz.core.model.netfilter import NF_POST_ROUTING
from netviz.core.sim.trace import Disposition, Trace
from tests.core.sim.build import UP, Net, Ns, textbook
from tests.core.sim.nft import chain, e

VIP = pack_ip("10.96.0.1")
BOTH = (Disposition.DELIVERED, Disposition.DELIVERED)


def server(last: int, **fields: Any) -> IpvsServer:
    return IpvsServer(pack_ip(f"10.1.2.{last}"), 80, **fields)


def cluster(
    *servers: IpvsServer, conntrack: int = 1, masquerade: bool = False, **fields: Any
) -> tuple[Net, dict[str, Ns]]:
    """Build kube-proxy's ipvs mode on node-1."""
    net, made = textbook()
    node = made["node-1"]
    node.link("kube-ipvs0", "dummy", flags=UP | IFF_NOARP)
    node.addr("kube-ipvs0", "10.96.0.1/32")
    node.sysctl("net.ipv4.vs.conntrack", conntrack)
    fields.setdefault("scheduler", "rr")
    node.add("ipvs", IpvsService(6, VIP, 80, servers=servers, **fields))
    if masquerade:
        chain(node, "post", (e("masq"),), hook=NF_POST_ROUTING, priority=100, type="nat")
    return net, made


def ends(trace: Trace, branch: int = 0) -> tuple[Disposition, Disposition | None]:
    found = trace.branches[branch]
    return found.forward.disposition, found.reply.disposition if found.reply is not None else None


def last_packet(trace: Trace, reply: bool = False) -> tuple[str, str, int]:
    path = trace.branches[0].reply if reply else trace.branches[0].forward
    assert path is not None
    fields: Any = path.hops[-1].steps[-1].packet.fields()
    return fields["src"], fields["dst"], fields["ttl"]


@pytest.mark.parametrize(
    ("conntrack", "masquerade", "source"), [(0, False, "pod-1-1"), (1, False, "pod-1-1"), (1, True, "node-1")]
)
def test_constructed_ipvs_masq_and_the_way_back(conntrack: int, masquerade: bool, source: str) -> None:
    """The node's own packet has the service's address as its source, too: without masquerading it is lost."""
    net, _made = cluster(server(11), conntrack=conntrack, masquerade=masquerade)
    trace = net.trace(source, "10.96.0.1", "tcp", 80)
    assert ends(trace) == BOTH
    assert last_packet(trace)[1] == "10.1.2.11"
    assert last_packet(trace, reply=True)[0] == "10.96.0.1"


def test_constructed_ipvs_conntrack_lets_postrouting_masquerade() -> None:
    """With vs.conntrack the packet stays tracked, and the answer is translated twice: by conntrack, then by IPVS."""
    net, _made = cluster(server(11), masquerade=True)
    trace = net.trace("pod-1-1", "10.96.0.1", "tcp", 80)
    assert ends(trace) == BOTH
    assert last_packet(trace)[:2] == ("192.168.0.1", "10.1.2.11")
    assert last_packet(trace, reply=True)[:2] == ("10.96.0.1", "10.1.1.11")
    net, _made = cluster(server(11), masquerade=True, conntrack=0)
    assert last_packet(net.trace("pod-1-1", "10.96.0.1", "tcp", 80))[0] == "10.1.1.11"


@pytest.mark.parametrize(
    ("scheduler", "weights", "odds"),
    [("rr", (1, 3), [0.5, 0.5]), ("wrr", (1, 3), [0.25, 0.75]), ("sh", (1, 3), [None, None])],
)
def test_constructed_ipvs_schedulers_fork(
    scheduler: str, weights: tuple[int, int], odds: list[float | None]
) -> None:
    servers = [server(11, weight=weights[0]), server(12, weight=weights[1]), server(13, weight=0)]
    net, _made = cluster(*servers, scheduler=scheduler)
    trace = net.trace("pod-1-1", "10.96.0.1", "tcp", 80)
    assert [b.probability for b in trace.branches] == odds
    assert [ends(trace, n) for n in range(2)] == [BOTH, BOTH]


def test_constructed_ipvs_a_service_without_servers_refuses() -> None:
    net, _made = cluster(server(11, weight=0))
    trace = net.trace("pod-1-1", "10.96.0.1", "tcp", 80)
    assert ends(trace) == (Disposition.REJECTED, Disposition.DELIVERED)
    assert trace.reason == "icmp-port-unreachable"


def test_constructed_ipvs_a_known_connection_keeps_its_server() -> None:
    net, made = cluster(server(11), server(12))
    conn = IpvsConn(6, pack_ip("10.1.1.11"), 40000, VIP, 80, pack_ip("10.1.2.12"), 80)
    made["node-1"].add("ipvs_conns", conn)
    trace = net.trace("pod-1-1", "10.96.0.1", "tcp", 80, sport=40000)
    assert (len(trace.branches), last_packet(trace)[1]) == (1, "10.1.2.12")


def test_constructed_ipvs_direct_routing_leaves_the_destination() -> None:
    """The server has the service's address on its own dummy, and answers by itself."""
    net, made = cluster(IpvsServer(pack_ip("192.168.0.2"), 80, "route"))
    node = made["node-2"]
    node.addr("lo", "10.96.0.1/32")
    node.listen("tcp", 80)
    trace = net.trace("pod-1-1", "10.96.0.1", "tcp", 80)
    assert trace.disposition is Disposition.DELIVERED
    assert last_packet(trace)[1] == "10.96.0.1"
    assert trace.branches[0].forward.hops[-1].netns.node == "node-2"


def test_constructed_ipvs_a_local_server_gets_it_here() -> None:
    net, made = cluster(IpvsServer(pack_ip("192.168.0.1"), 8080))
    made["node-1"].listen("tcp", 8080)
    assert ends(net.trace("pod-1-1", "10.96.0.1", "tcp", 80)) == BOTH


def test_constructed_ipvs_uses_up_ttl_on_the_way_to_a_server() -> None:
    """pod-1-1's packet is forwarded by IPVS and by node-2: two off."""
    net, _made = cluster(server(11))
    assert last_packet(net.trace("pod-1-1", "10.96.0.1", "tcp", 80))[2] == 62
    assert net.trace("pod-1-1", "10.96.0.1", "tcp", 80, ttl=1).reason == "IP_INHDR"


def test_constructed_ipvs_services_by_mark() -> None:
    net, made = cluster(server(11))
    made["node-1"].add("ipvs", IpvsService(fwmark=5, scheduler="rr", servers=(server(12),)))
    assert last_packet(net.trace("node-1", "10.96.0.1", "tcp", 80, mark=5))[1] == "10.1.2.12"


def test_constructed_ipvs_other_ports_are_the_hosts() -> None:
    net, _made = cluster(server(11))
    assert net.trace("pod-1-1", "10.96.0.1", "tcp", 81).disposition is Disposition.NO_LISTENER
    assert net.trace("pod-1-1", "10.96.0.1", "icmp").disposition is Disposition.DELIVERED


def test_constructed_ipvs_leaves_a_servers_other_answers_alone() -> None:
    net, _made = cluster(server(11))
    trace = net.trace("pod-1-1", "pod-2-1", "tcp", 80)
    assert (ends(trace), last_packet(trace, reply=True)[0]) == (BOTH, "10.1.2.11")


def test_constructed_ipvs_tunnels_are_unknown_by_name() -> None:
    net, _made = cluster(server(11, forward="tunnel"))
    assert net.trace("pod-1-1", "10.96.0.1", "tcp", 80).reason == "IPVS tunnel"
