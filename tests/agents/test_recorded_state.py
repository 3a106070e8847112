"""What the collectors make of a real kernel's answers, laid beside what the distribution's own programs said then."""

from __future__ import annotations

import errno
import ipaddress
import json
import re
from typing import Any

import pytest

from agents.ledger import Ledger
from agents.programs import TCX
from agents.snapshot import Snapshotter
from netviz.core.model.addr import format_ip, pack_ip
from netviz.core.model.l2 import NUD_PERMANENT
from netviz.core.model.l3 import ROUTE_TYPES, Route
from netviz.core.model.link import Program
from netviz.core.model.netfilter import NF_DROP, NFPROTO_IPV4, NFPROTO_IPV6
from netviz.core.model.socket import TCP_ESTABLISHED, TCP_LISTEN
from netviz.core.state.node import NetnsState, NodeState
from tests.agents.fake_kernel import FakeKernel, collectors
from tests.agents.netlink_record import ROOT

PHASES = ("furnished", "changed", "grown", "shrunk")
TABLES = {"local": 255, "main": 254, "default": 253}


def read(kernel: FakeKernel, *, pods: bool = True) -> NodeState:
    return snapshot(kernel, pods=pods).state


def snapshot(kernel: FakeKernel, *, pods: bool = True) -> Ledger:
    return Snapshotter(kernel.options(pods=pods), collectors(), kernel).run()


class Read:
    """The node as read in one phase, and the kernel that it was read from."""

    def __init__(self, kernel: FakeKernel) -> None:
        self.kernel = kernel
        self.ledger = snapshot(kernel)
        self.state = self.ledger.state
        self.named = named(self.state)
        self.root = self.named[ROOT]

    def tool(self, name: str, command: str) -> Any:
        """What a program said in a namespace."""
        said = self.kernel.place(name).tools[command]
        return json.loads(said or "[]") if "-j" in command else said


def named(state: NodeState) -> dict[str, NetnsState]:
    """The namespaces by name."""
    return {ns.netns.name or ROOT: ns for ns in state.netns.values()}


@pytest.fixture(scope="module", params=range(len(PHASES)), ids=PHASES)
def phase(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Read:
    """The node in each of its phases."""
    kernel = FakeKernel(tmp_path_factory.mktemp("kernel"))
    for _ in range(request.param):
        kernel.advance()
    return Read(kernel)


def test_the_recording_has_the_phases_that_are_told_of_here(kernel: FakeKernel) -> None:
    assert tuple(phase.name for phase in kernel.recording.phases) == PHASES


def test_everything_is_read_without_a_gap(phase: Read) -> None:
    state = phase.state
    assert phase.kernel.unknown == []
    assert phase.named.keys() == phase.kernel.recording.phases[phase.kernel.number].places.keys()
    assert {ns.netns.gaps for ns in state.netns.values()} == {()}
    assert {status.whole for status in state.status.values()} == {True}


def test_links_and_addresses_are_those_that_ip_shows(phase: Read) -> None:
    for name, ns in phase.named.items():
        shown = phase.tool(name, "ip -j -d addr show")
        ours = {
            (link.ifindex, link.ifname, link.mtu, link.mac.hex(":"), link.kind, link.master)
            for link in ns.links.values()
        }
        index = {one["ifname"]: one["ifindex"] for one in shown}
        theirs = {
            (
                one["ifindex"],
                one["ifname"],
                one["mtu"],
                one["address"],
                one.get("linkinfo", {}).get("info_kind", ""),
                index[one["master"]] if "master" in one else 0,
            )
            for one in shown
        }
        assert ours == theirs
        assert {(a.ifindex, format_ip(a.addr), a.prefixlen) for a in ns.addrs.values()} == {
            (one["ifindex"], addr["local"], addr["prefixlen"]) for one in shown for addr in one["addr_info"]
        }


def _place(prefix: str, width: int) -> tuple[bytes, int]:
    net = ipaddress.ip_network({"default": "0.0.0.0/0" if width == 4 else "::/0"}.get(prefix, prefix))
    return net.network_address.packed, net.prefixlen


def test_routes_are_those_that_ip_shows(phase: Read) -> None:
    for name, ns in phase.named.items():
        index = {one["ifname"]: one["ifindex"] for one in phase.tool(name, "ip -j -d addr show")}

        def hops(one: Any, index: dict[str, int] = index) -> tuple[tuple[int, str], ...]:
            several = one.get("nexthops") or ([one] if "dev" in one else [])
            return tuple((index[hop["dev"]], hop.get("gateway", "")) for hop in several)

        theirs = sorted(
            (
                TABLES.get(table := one.get("table", "main")) or int(table),
                *_place(one["dst"], width),
                hops(one),
            )
            for command, width in (
                ("ip -j -4 route show table all", 4),
                ("ip -j -6 route show table all", 16),
            )
            for one in phase.tool(name, command)
            if one.get("type", "unicast") in ROUTE_TYPES
        )

        def ours(route: Route) -> Any:
            found = tuple((hop.oif, format_ip(hop.gateway) if hop.gateway else "") for hop in route.nexthops)
            return route.table_id, route.dst, route.dst_len, found

        reject = {6, 7, 8}  # of these ip prints a device for IPv6 alone
        assert sorted(ours(r) for r in ns.routes.values() if r.type not in reject) == [
            one
            for one in theirs
            if one[1:3] not in {(r.dst, r.dst_len) for r in ns.routes.values() if r.type in reject}
        ]


def test_policy_rules_neighbours_and_nexthop_objects_are_those_that_ip_shows(phase: Read) -> None:
    for name, ns in phase.named.items():
        rules = {(r.priority, r.table_id, r.fwmark) for r in ns.rules.values() if r.family == 2}
        assert rules == {
            (one["priority"], TABLES.get(one["table"]) or int(one["table"]), int(one.get("fwmark", "0"), 16))
            for one in phase.tool(name, "ip -j rule show")
        }
        shown = phase.tool(name, "ip -j neigh show")
        ours = {format_ip(n.dst): n.mac.hex(":") for n in ns.neighs.values() if n.state == NUD_PERMANENT}
        assert ours == {one["dst"]: one["lladdr"] for one in shown if one["state"] == ["PERMANENT"]}
        groups = {
            one["id"]: tuple(m["id"] for m in one.get("group", ()))
            for one in phase.tool(name, "ip -j nexthop show")
        }
        assert {o.id: tuple(member for member, _weight in o.group) for o in ns.nexthops.values()} == groups


def test_forwarding_entries_are_those_that_bridge_shows(phase: Read) -> None:
    for name, ns in phase.named.items():
        names = {link.ifindex: link.ifname for link in ns.links.values()}
        theirs = {
            (one["mac"], one["ifname"], one.get("vlan", 0))
            for one in phase.tool(name, "bridge -j fdb show")
            if not int(one["mac"][:2], 16) & 1
        }
        ours = {(e.mac.hex(":"), names[e.ifindex], e.vlan) for e in ns.fdb.values() if not e.mac[0] & 1}
        assert ours == theirs


def test_chains_sets_and_the_number_of_rules_are_those_that_nft_lists(phase: Read) -> None:
    root = phase.root
    listed = phase.tool(ROOT, "nft -j list ruleset")["nftables"]
    families = {"ip": 2, "ip6": 10, "inet": 1, "arp": 3, "bridge": 7, "netdev": 5}
    chains = {(families[c["family"]], c["table"], c["name"]) for one in listed if (c := one.get("chain"))}
    assert {(c.family, c.table, c.name) for c in root.nft_chains.values()} == chains
    rules = [
        (families[r["family"]], r["table"], r["chain"], r["handle"])
        for one in listed
        if (r := one.get("rule"))
    ]
    assert sorted(
        (c.family, c.table, c.name, h) for c in root.nft_chains.values() for h in c.handles
    ) == sorted(rules)
    sets = {
        (families[s["family"]], s["table"], s["name"])
        for one in listed
        if (s := one.get("set") or one.get("map"))
    }
    assert {
        (s.family, s.table, s.name) for s in root.nft_sets.values() if not s.name.startswith("__")
    } == sets


def test_legacy_tables_have_the_rules_that_iptables_saves(phase: Read) -> None:
    root = phase.root
    assert {(t.family, t.name, t.read) for t in root.xt_tables.values()} == {
        (NFPROTO_IPV4, "filter", True),
        (NFPROTO_IPV4, "nat", True),
        (NFPROTO_IPV6, "filter", True),
    }
    saved = phase.tool(ROOT, "iptables-legacy-save")
    count = {
        (c.table, c.name): len(phase.ledger.bodies([c.body])[0].rules) if c.body else 0
        for c in root.xt_chains.values()
        if c.family == NFPROTO_IPV4
    }
    assert sum(count.values()) == len(re.findall(r"^-A ", saved, re.M)) == 2
    forward = root.xt_chains[NFPROTO_IPV4, "filter", "FORWARD"]
    (rule,) = phase.ledger.bodies([forward.body])[0].rules
    assert [e.name for e in rule.exprs] == ["payload", "cmp", "meta", "cmp", "match", "immediate"]
    assert rule.exprs[1].attrs["data"] == pack_ip("203.0.113.7")
    assert rule.exprs[-1].attrs["data"]["code"] == NF_DROP


def test_ipsets_have_the_elements_that_ipset_saves(phase: Read) -> None:
    (one,) = phase.root.ipsets.values()
    assert (one.name, one.type) == ("rec", "hash:net")
    elements = phase.ledger.bodies([one.body])[0].elems
    saved = re.findall(r"^add rec (\S+)/(\d+)( nomatch)?", phase.tool(ROOT, "ipset save"), re.M)
    assert len(elements) == len(saved) == (2 if phase.kernel.number == 0 else 3)


def test_sockets_are_those_that_ss_shows(phase: Read) -> None:
    protos = {"tcp": 6, "udp": 17}
    for name, ns in phase.named.items():
        theirs = {
            (protos[words[0]], int(words[4].rpartition(":")[2]))
            for words in map(str.split, phase.tool(name, "ss -tulnH").splitlines())
        }
        listening = [s for s in ns.sockets.values() if s.proto == 17 or s.state == TCP_LISTEN]
        assert {(s.proto, s.sport) for s in listening} == theirs
    connected = [s for s in phase.named["api-1"].sockets.values() if s.state == TCP_ESTABLISHED]
    assert [s.dport for s in connected] == [8080]


def test_tracked_connections_are_those_that_conntrack_lists(phase: Read) -> None:
    said = phase.tool(ROOT, "conntrack -L -f ipv4")
    found = re.findall(r"tcp .*? src=(\S+) dst=(\S+) sport=(\d+) dport=(\d+)", said)
    ours = [e for e in phase.named[ROOT].conntrack.values() if e.proto == 6]
    assert [(format_ip(e.osrc), format_ip(e.odst), str(e.osport), str(e.odport)) for e in ours] == found
    assert [e.tcp_state for e in ours] == [3] * len(found)  # TCP_CONNTRACK_ESTABLISHED


def test_settings_are_those_that_were_set(kernel: FakeKernel) -> None:
    def value(name: str) -> int:
        return named(read(kernel))[ROOT].sysctls[name].value

    assert value("net.ipv4.conf.all.rp_filter") == 2
    assert value("net.ipv4.icmp_echo_ignore_all") == 0
    kernel.advance()
    assert value("net.ipv4.icmp_echo_ignore_all") == 1


def test_a_veth_leads_to_the_namespace_in_which_its_other_end_is(phase: Read) -> None:
    by_name = phase.named
    for name, ns in by_name.items():
        if name == ROOT:
            continue
        (veth,) = (link for link in ns.links.values() if link.kind == "veth")
        assert dict(ns.netns.nsids)[veth.link_nsid] == by_name[ROOT].key
        peer = by_name[ROOT].links[veth.link]
        assert dict(by_name[ROOT].netns.nsids)[peer.link_nsid] == ns.key
        assert peer.link == veth.ifindex


def test_a_namespace_that_nobody_shows_is_read_through_the_roots_socket(phase: Read) -> None:
    """Its links and addresses alone, and it says why no more."""
    whole, state = phase.named, read(phase.kernel, pods=False)
    remote = [ns for ns in state.netns.values() if not ns.netns.root]
    assert len(remote) == len(whole) - 1
    assert {(a.addr, a.prefixlen) for ns in remote for a in ns.addrs.values()} == {
        (a.addr, a.prefixlen) for name, ns in whole.items() if name != ROOT for a in ns.addrs.values()
    }
    for ns in remote:
        gaps = {gap.section: gap.reason for gap in ns.netns.gaps}
        assert "addrs" not in gaps
        assert gaps["routes"] == "the namespace is only known by a veth peer and cannot be entered"
        assert "tc" in gaps["links"]


def test_a_queueing_discipline_that_programs_hang_on_is_told(kernel: FakeKernel) -> None:
    assert [link.tc for link in named(read(kernel))[ROOT].links.values() if link.tc] == [("clsact",)]


def test_programs_at_a_link_are_those_that_bpf_tells(kernel: FakeKernel) -> None:
    eth0 = next(link for link in named(read(kernel))[ROOT].links.values() if link.ifname == "eth0")
    assert eth0.programs == ()
    kernel.programs[ROOT, eth0.ifindex, TCX["tcx/ingress"]] = [7, 9]
    shown = named(read(kernel))[ROOT].links[eth0.ifindex].programs
    assert shown == (Program("tcx/ingress", 7), Program("tcx/ingress", 9))


@pytest.mark.parametrize(("error", "programs"), [(errno.EPERM, None), (errno.EINVAL, ())])
def test_who_may_not_ask_for_programs_reads_none_and_an_old_kernel_has_none(
    kernel: FakeKernel, error: int, programs: tuple[Program, ...] | None
) -> None:
    kernel.bpf_error = error
    links = named(read(kernel))["web-1"].links.values()
    assert {link.programs for link in links} == {programs}
