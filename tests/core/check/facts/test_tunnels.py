"""Ends of tunnels that don't fit each other: settings, forwarding entries, remotes."""

from __future__ import annotations

import msgspec

from netviz.core.model.addr import pack_ip
from netviz.core.model.l2 import NUD_PERMANENT, Fdb
from netviz.core.model.link import TunnelInfo, WireguardInfo, WireguardPeer
from tests.core.check.judging import kinds, only, problems
from tests.core.sim.build import Net, Ns


def flannel(nodes: int = 3) -> tuple[Net, list[Ns]]:
    """Nodes with a VXLAN device each, and an entry for each other's."""
    net = Net()
    made = []
    for n in range(1, nodes + 1):
        node = net.node(f"node-{n}")
        node.nic("ens3", f"192.168.0.{n}/24")
        node.vxlan("flannel.1", 1, f"192.168.0.{n}", f"10.1.{n}.0/32")
        made.append(node)
    for node in made:
        for n, other in enumerate(made, 1):
            if other is not node:
                entry(node, other.named("flannel.1").mac, f"192.168.0.{n}")
    return net, made


def entry(node: Ns, mac: bytes, remote: str) -> None:
    link = node.named("flannel.1")
    node.add("fdb", Fdb(link.ifindex, mac, state=NUD_PERMANENT, dst=pack_ip(remote)))


def test_ends_that_fit_are_no_problem() -> None:
    assert kinds(flannel()[0]) == []


def test_an_end_with_another_vni() -> None:
    net, made = flannel()
    made[1].change("flannel.1", info=msgspec.structs.replace(made[1].named("flannel.1").info, vni=2))
    problem = only(net)
    assert problem.headline == "flannel.1 on node-2 has VNI 2, but on 2 other nodes it has 1"
    assert (problem.where.node, problem.where.dev) == ("node-2", "flannel.1")


def test_an_end_with_another_port() -> None:
    net, made = flannel()
    made[2].change("flannel.1", info=msgspec.structs.replace(made[2].named("flannel.1").info, port=4789))
    assert only(net).headline == "flannel.1 on node-3 has port 4789, but on 2 other nodes it has 8472"


def test_an_entry_that_leads_to_another_address_than_the_end_has() -> None:
    net, made = flannel()
    mac = made[1].named("flannel.1").mac
    made[0].lists["fdb"] = [one for one in made[0].lists["fdb"] if one.mac != mac]
    entry(made[0], mac, "192.168.0.99")
    problem = only(net)
    assert (
        problem.headline
        == "flannel.1 on node-1 sends what is for node-2 to 192.168.0.99, which isn't node-2's address"
    )
    assert problem.fix[0].command == "bridge fdb replace 02:00:00:00:00:06 dev flannel.1 dst 192.168.0.2"


def test_an_entry_for_somebody_unknown_is_no_problem() -> None:
    net, made = flannel()
    entry(made[0], b"\x02\xaa\0\0\0\1", "192.168.0.99")
    assert kinds(net) == []


def pair(kind: str, *infos: TunnelInfo) -> Net:
    net = Net()
    for n, info in enumerate(infos, 1):
        node = net.node(f"node-{n}")
        node.nic("ens3", f"192.168.0.{n}/24")
        node.link("tun1", kind, info=info, mtu=1400)
    return net


def ends(**other: object) -> tuple[TunnelInfo, TunnelInfo]:
    one, two = pack_ip("192.168.0.1"), pack_ip("192.168.0.2")
    second = TunnelInfo(local=two, remote=one, okey=7, ikey=7, oflags=0x2000, iflags=0x2000)
    return TunnelInfo(
        local=one, remote=two, okey=7, ikey=7, oflags=0x2000, iflags=0x2000
    ), msgspec.structs.replace(second, **other)


def test_two_ends_of_a_tunnel_with_one_remote() -> None:
    assert kinds(pair("gre", *ends())) == []
    found = problems(pair("gre", *ends(ikey=8)))
    assert [p.headline for p in found] == [
        "tun1 on node-1 leads to 192.168.0.2, but node-2 has key 8 there, not 7"
    ]


def test_a_remote_that_leads_elsewhere() -> None:
    net = pair("gre", *ends(remote=pack_ip("192.168.0.77")))
    assert only(net).headline == "tun1 on node-1 leads to 192.168.0.2, but node-2 has no end of it"


def test_a_remote_that_nobody_known_has_is_no_problem() -> None:
    assert kinds(pair("gre", ends()[0])) == []


def wireguard(port: int, key: bytes) -> Net:
    net = Net()
    for n in (1, 2):
        node = net.node(f"node-{n}")
        node.nic("ens3", f"192.168.0.{n}/24")
        peer = WireguardPeer(
            key if n == 1 else b"1" * 32, pack_ip(f"192.168.0.{3 - n}"), port if n == 1 else 51820
        )
        info = WireguardInfo(51820, 0, str(n).encode() * 32, (peer,))
        node.link("wg0", "wireguard", info=info, mtu=1400, mac=b"", arptype=0xFFFE)
    return net


def test_wireguards_peers_have_the_port_and_key_of_the_other_end() -> None:
    assert kinds(wireguard(51820, b"2" * 32)) == []
    assert only(wireguard(51821, b"2" * 32)).headline.endswith("but node-2's end has port 51820, not 51821")
    assert only(wireguard(51820, b"3" * 32)).headline.endswith("but node-2's end has another key")
