"""nf_tables against what nft and iptables say of the same rulesets."""

from __future__ import annotations

import json
import socket
from collections import Counter

import pytest

from agents.collectors.base import NetnsHandle
from agents.collectors.netfilter import COUNTERS, Netfilter
from agents.collectors.ruleset import NFT_SECTIONS
from netviz.core.model.netfilter import (
    NFPROTO_NAMES,
    ChainBody,
    NftChain,
    NftExpr,
    NftObject,
    NftSet,
    RuleCount,
    RuleCounters,
    SetBody,
    XtTable,
    body_digest,
)
from tests.live.collector_rig import Namespace, RecordingHost, namespaces, until

pytestmark = pytest.mark.live

# kube-proxy's nftables mode in small: service maps, endpoint choice, marks, comments on elements.
SERVICES = """
table ip nv-proxy {
  map service-ips {
    type ipv4_addr . inet_proto . inet_service : verdict
    comment "ClusterIP, ExternalIP and LoadBalancer IP traffic"
    elements = { 10.96.0.10 . udp . 53 comment "kube-system/dns" : goto service-dns,
                 10.96.0.1 . tcp . 443 : goto service-api }
  }
  map no-endpoint-services {
    type ipv4_addr . inet_proto . inet_service : verdict
    elements = { 10.96.0.66 . tcp . 80 : drop }
  }
  set cluster-ips {
    type ipv4_addr
    elements = { 10.96.0.1, 10.96.0.10 }
  }
  set pod-cidrs {
    type ipv4_addr
    flags interval
    elements = { 10.1.0.0/16, 10.2.3.4-10.2.3.9 }
  }
  map endpoint {
    type mark : ipv4_addr . inet_service
    elements = { 0 : 10.1.1.5 . 5353, 1 : 10.1.2.6 . 5353 }
  }
  chain service-dns {
    ip saddr != 10.1.0.0/16 jump mark-for-masquerade
    numgen random mod 2 vmap { 0 : goto ep-one, 1 : goto ep-two }
  }
  chain service-api {
    meta l4proto tcp dnat ip to numgen random mod 2 map { 0 : 10.1.1.5 . 8080, 1 : 10.1.2.6 . 8080 }
  }
  chain ep-one {
    ip saddr 10.1.1.5 jump mark-for-masquerade
    meta l4proto udp dnat to 10.1.1.5:5353 comment "dns one"
  }
  chain ep-two {
    meta l4proto udp dnat to 10.1.2.6:5353
  }
  chain mark-for-masquerade {
    meta mark set meta mark | 0x4000
  }
  chain nat-prerouting {
    type nat hook prerouting priority dstnat; policy accept;
    ip daddr . meta l4proto . th dport vmap @service-ips
    fib daddr type local counter accept
  }
  chain nat-postrouting {
    type nat hook postrouting priority srcnat; policy accept;
    meta mark & 0x4000 == 0x0 return
    meta mark set meta mark ^ 0x4000
    masquerade fully-random
  }
  chain filter-forward {
    type filter hook forward priority filter - 5; policy drop;
    ct state established,related accept
    ip daddr . meta l4proto . th dport vmap @no-endpoint-services
    ip daddr @cluster-ips reject with icmp type port-unreachable
    ip saddr @pod-cidrs limit rate 5/second burst 7 packets log prefix "pods " group 3 accept
  }
}
table inet nv-misc {
  counter hits { }
  quota little { over 10 mbytes }
  limit slow { rate 10/second }
  set seen {
    type ipv4_addr
    size 1024
    flags dynamic,timeout
    timeout 30s
  }
  chain in {
    type filter hook input priority 10; policy accept;
    counter name "hits"
    quota name "little" drop
    update @seen { ip saddr limit rate 1/second } accept
    tcp dport { 22, 80-90 } socket transparent 1 drop
    ct mark set 0x5
    tcp option maxseg size 1400 rt classid 5
  }
}
table bridge nv-br {
  chain f {
    type filter hook forward priority 0; policy accept;
    ether type arp accept
  }
}
"""


def read(ns: Namespace, collector: Netfilter):
    reading = collector.collect(ns.handle, NFT_SECTIONS)
    sections = {
        section: {record.key: record for record in recs} for section, recs in reading.sections.items()
    }
    return sections, {digest: body.decode() for digest, body in reading.bodies.items()}


def nft_list(ns: Namespace) -> list[dict]:
    return json.loads(ns.exec("nft", "-j", "list", "ruleset"))["nftables"]


def named(objects: list[dict], kind: str) -> Counter:
    found: Counter = Counter()
    for entry in objects:
        if kind in entry:
            body = entry[kind]
            found[body["family"], body["table"], body.get("name", body.get("chain"))] += 1
    return found


def names(key) -> tuple:
    return (NFPROTO_NAMES[key[0]], *key[1:])


def exprs(bodies, chain: NftChain) -> list[NftExpr]:
    return [expr for rule in bodies[chain.body].rules for expr in rule.exprs]


def test_everything_nft_lists_is_there() -> None:
    with namespaces() as (ns,):
        ns.exec("nft", "-f", "-", input_text=SERVICES)
        sections, bodies = read(ns, Netfilter())
        listed = nft_list(ns)
        tables = {names(key) for key in sections["nft_tables"]}
        assert tables == {("ip", "nv-proxy"), ("inet", "nv-misc"), ("bridge", "nv-br")}
        chains = sections["nft_chains"]
        assert {names(key) for key in chains} == set(named(listed, "chain"))
        rules = Counter({names(key): len(chain.handles) for key, chain in chains.items() if chain.handles})
        assert rules == named(listed, "rule")
        for chain in chains.values():
            assert len(chain.handles) == (len(bodies[chain.body].rules) if chain.body else 0)
            handles = [e["rule"]["handle"] for e in listed if e.get("rule", {}).get("chain") == chain.name]
            assert list(chain.handles) == handles
        sets = {key: one for key, one in sections["nft_sets"].items() if not one.flags & 0x1}
        assert {names(key) for key in sets} == set(named(listed, "set") + named(listed, "map"))
        objects = {(NFPROTO_NAMES[o.family], o.table, o.name) for o in sections["nft_objects"].values()}
        assert objects == set(named(listed, "counter") + named(listed, "quota") + named(listed, "limit"))


def test_base_chains_sets_and_objects_have_their_details() -> None:
    with namespaces() as (ns,):
        ns.exec("nft", "-f", "-", input_text=SERVICES)
        sections, bodies = read(ns, Netfilter())
        forward = sections["nft_chains"][2, "nv-proxy", "filter-forward"]
        assert (forward.type, forward.hook, forward.priority, forward.policy) == ("filter", 2, -5, 0)
        assert sections["nft_chains"][2, "nv-proxy", "ep-one"].hook is None
        services: NftSet = sections["nft_sets"][2, "nv-proxy", "service-ips"]
        elems = bodies[services.body].elems
        assert [(e.key, e.verdict, e.chain, e.comment) for e in elems] == [
            (bytes([10, 96, 0, 1, 6, 0, 0, 0, 1, 187, 0, 0]), -4, "service-api", ""),
            (bytes([10, 96, 0, 10, 17, 0, 0, 0, 0, 53, 0, 0]), -4, "service-dns", "kube-system/dns"),
        ]
        cidrs = bodies[sections["nft_sets"][2, "nv-proxy", "pod-cidrs"].body].elems
        assert [(e.key[:4], e.end) for e in cidrs] == [
            (bytes([0, 0, 0, 0]), True),
            (bytes([10, 1, 0, 0]), False),
            (bytes([10, 2, 0, 0]), True),
            (bytes([10, 2, 3, 4]), False),
            (bytes([10, 2, 3, 10]), True),
        ]
        endpoints = bodies[sections["nft_sets"][2, "nv-proxy", "endpoint"].body].elems
        assert [(e.key, e.data) for e in endpoints] == [
            (bytes([0, 0, 0, 0]), bytes([10, 1, 1, 5, 0x14, 0xE9, 0, 0])),
            (bytes([1, 0, 0, 0]), bytes([10, 1, 2, 6, 0x14, 0xE9, 0, 0])),
        ]
        assert sections["nft_objects"][1, "nv-misc", "quota", "little"] == NftObject(
            family=1, table="nv-misc", name="little", type="quota", attrs={"bytes": 10 << 20, "flags": 1}
        )
        assert sections["nft_objects"][1, "nv-misc", "counter", "hits"].attrs == {}
        seen: NftSet = sections["nft_sets"][1, "nv-misc", "seen"]
        assert (seen.timeout_ms, seen.size, seen.flags) == (30_000, 1024, 0x30)


def test_expressions_are_decoded_as_the_kernel_has_them() -> None:
    with namespaces() as (ns,):
        ns.exec("nft", "-f", "-", input_text=SERVICES)
        sections, bodies = read(ns, Netfilter())
        chains = sections["nft_chains"]
        one = exprs(bodies, chains[2, "nv-proxy", "ep-one"])
        assert one[0] == NftExpr("payload", {"dreg": 1, "base": 1, "offset": 12, "len": 4})
        assert one[1] == NftExpr("cmp", {"sreg": 1, "op": 0, "data": bytes([10, 1, 1, 5])})
        assert one[2] == NftExpr(
            "immediate", {"dreg": 0, "data": {"code": -3, "chain": "mark-for-masquerade"}}
        )
        assert bodies[chains[2, "nv-proxy", "ep-one"].body].rules[1].comment == "dns one"
        assert [e.name for e in exprs(bodies, chains[2, "nv-proxy", "nat-postrouting"])][-1] == "masq"
        masq = exprs(bodies, chains[2, "nv-proxy", "nat-postrouting"])[-1]
        assert masq == NftExpr("masq", {"flags": 0x10})
        forward = exprs(bodies, chains[2, "nv-proxy", "filter-forward"])
        assert NftExpr("ct", {"dreg": 1, "key": 0}) in forward
        assert NftExpr("limit", {"rate": 5, "unit": 1, "burst": 7, "type": 0, "flags": 0}) in forward
        (log,) = (e for e in forward if e.name == "log")
        assert (log.attrs["prefix"], log.attrs["group"]) == ("pods ", 3)
        assert NftExpr("reject", {"type": 0, "icmp_code": 3}) in forward
        every = [e for chain in chains.values() if chain.body for e in exprs(bodies, chain)]
        assert not [e for e in every if "raw" in e.attrs or any(name.startswith("attr") for name in e.attrs)]
        assert {"numgen", "fib", "dynset", "socket", "exthdr", "rt", "objref", "lookup"} <= {
            e.name for e in every
        }


def test_equal_rulesets_share_bodies_whatever_their_counters_and_handles() -> None:
    collector = Netfilter()
    with namespaces(2) as (one, two):
        one.exec("nft", "-f", "-", input_text=SERVICES)
        two.exec("nft", "add table ip other; delete table ip other")
        two.exec("nft", "-f", "-", input_text=SERVICES)
        with two.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
            sock.bind(("127.0.0.1", 0))
            sock.sendto(b"counted", sock.getsockname())
        first, first_bodies = read(one, collector)
        decoded = collector.cache.decoded
        second, second_bodies = read(two, collector)
        digests = {chain.body for chain in first["nft_chains"].values()}
        assert digests == {chain.body for chain in second["nft_chains"].values()}
        assert "packets 1" in two.exec("nft", "list", "counters")
        # Only the dynamic set, which holds what the packets left there, had to be decoded.
        assert collector.cache.decoded == decoded + 1
        for bodies in (first_bodies, second_bodies):
            for digest in bodies:
                assert body_digest(bodies[digest]) == digest
                assert isinstance(bodies[digest], ChainBody | SetBody)


COUNTED = {
    "nft": (
        "nft -f -",
        "table ip t {{\nchain in {{\ntype filter hook input priority 0\nudp dport {port} counter accept\n}}\n}}\n",
        (2, "t", "in", False),
    ),
    "iptables-nft": (
        "iptables-nft-restore",
        "*filter\n-A INPUT -p udp -m udp --dport {port} -j ACCEPT\n-A INPUT -s 192.0.2.1 -j DROP\nCOMMIT\n",
        (2, "filter", "INPUT", False),
    ),
    "iptables-legacy": (
        "iptables-legacy-restore",
        "*filter\n-A INPUT -p udp -m udp --dport {port} -j ACCEPT\n-A INPUT -s 192.0.2.1 -j DROP\nCOMMIT\n",
        (2, "filter", "INPUT", True),
    ),
}


@pytest.mark.parametrize("kind", COUNTED)
def test_what_rules_count_is_a_section_of_its_own(kind: str) -> None:
    """Rules stay as they are while they count; a count is of the time when it was first read so."""
    command, rules, key = COUNTED[kind]
    sections = (*NFT_SECTIONS, "xt_tables", "xt_chains", COUNTERS)
    with namespaces() as (ns,), ns.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind(("127.0.0.1", 0))
        ns.exec(*command.split(), input_text=rules.format(port=sock.getsockname()[1]))
        collector = Netfilter()

        def counted() -> tuple[dict[str, object], RuleCounters]:
            reading = collector.collect(ns.handle, sections)
            found = {one.key: one for one in reading.sections[COUNTERS]}
            mine = found.get(key) or found[*key[:2], "", False]
            assert isinstance(mine, RuleCounters)
            return {name: list(reading.sections[name]) for name in sections if name != COUNTERS}, mine

        before, none = counted()
        chains = before["xt_chains" if key[3] else "nft_chains"]
        assert isinstance(chains, list)
        (chain,) = [chain for chain in chains if chain.key == key[:3]]
        if key[3]:
            assert none.rules == chain.body
        else:
            (table,) = before["nft_tables"]
            assert (none.chain, none.table_handle) == ("", table.handle)
            assert none.last_handle >= max(chain.handles) > 0
        assert none.counts == ()
        for _ in range(3):
            sock.sendto(b"counted", sock.getsockname())
        after, three = counted()
        assert (three.chain, three.rules) == (key[2], chain.body)
        assert three.counts == (RuleCount(0, 3, 3 * (28 + len(b"counted"))),)
        assert after == before
        assert three.at_s > none.at_s > 0
        assert counted()[1] is three
        assert COUNTERS not in collector.collect(ns.handle, ("nft_chains", "xt_tables")).sections


def test_a_change_is_seen_and_nothing_is_read_without_one() -> None:
    collector = Netfilter()
    with namespaces() as (ns,):
        ns.exec("nft", "-f", "-", input_text=SERVICES)
        before, _ = read(ns, collector)
        again, _ = read(ns, collector)
        assert again["nft_chains"] == before["nft_chains"]
        assert all(again["nft_chains"][key] is record for key, record in before["nft_chains"].items())
        ns.exec("nft", "add", "rule", "ip", "nv-proxy", "ep-two", "drop")
        after, bodies = read(ns, collector)
        changed = {key for key, record in after["nft_chains"].items() if record != before["nft_chains"][key]}
        assert changed == {(2, "nv-proxy", "ep-two")}
        assert len(bodies[after["nft_chains"][2, "nv-proxy", "ep-two"].body].rules) == 2
        ns.exec("nft", "flush", "ruleset")
        empty, bodies = read(ns, collector)
        assert empty == {section: {} for section in (*NFT_SECTIONS, "ipsets")}
        assert len(bodies) == 0


def test_iptables_nft_rules_keep_their_matches_and_targets() -> None:
    restore = """*filter
:KUBE-SERVICES - [0:0]
:KUBE-FORWARD - [0:0]
-A INPUT -m conntrack --ctstate NEW -m comment --comment "kubernetes service portals" -j KUBE-SERVICES
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-SERVICES -d 10.96.0.5/32 -p tcp -m tcp --dport 80 -j REJECT --reject-with icmp-port-unreachable
COMMIT
*nat
:KUBE-SVC-X - [0:0]
:KUBE-SEP-A - [0:0]
:KUBE-SEP-B - [0:0]
-A KUBE-SVC-X -m statistic --mode random --probability 0.5 -j KUBE-SEP-A
-A KUBE-SVC-X -j KUBE-SEP-B
-A KUBE-SEP-A -p tcp -m tcp -j DNAT --to-destination 10.1.1.5:8080
-A KUBE-SEP-B -j MARK --set-xmark 0x4000/0x4000
-A POSTROUTING -j MASQUERADE --random-fully
COMMIT
"""
    with namespaces() as (ns,):
        ns.exec("iptables-restore", input_text=restore)
        sections, bodies = read(ns, Netfilter())
        saved = [line.split() for line in ns.exec("iptables-save").splitlines() if line.startswith("-A")]
        rules = Counter({key[2]: len(c.handles) for key, c in sections["nft_chains"].items() if c.handles})
        assert rules == Counter(words[1] for words in saved)
        statistic = exprs(bodies, sections["nft_chains"][2, "nat", "KUBE-SVC-X"])[0]
        assert statistic.name == "match"
        assert (statistic.attrs["name"], statistic.attrs["rev"]) == ("statistic", 0)
        assert len(statistic.attrs["info"]) > 8
        portals = bodies[sections["nft_chains"][2, "filter", "INPUT"].body].rules[0]
        assert "kubernetes service portals" in repr(portals)
        targets = {
            e.attrs["name"]
            for c in sections["nft_chains"].values()
            if c.body
            for e in exprs(bodies, c)
            if e.name == "target"
        }
        assert {"DNAT", "MARK", "MASQUERADE"} <= targets


def test_legacy_tables_are_read() -> None:
    with namespaces() as (ns,):
        collector = Netfilter()
        assert list(collector.collect(ns.handle, ("xt_tables",)).sections["xt_tables"]) == []
        ns.exec("iptables-legacy", "-t", "nat", "-S")
        ns.exec("ip6tables-legacy", "-t", "filter", "-S")
        found = set(collector.collect(ns.handle, ("xt_tables",)).sections["xt_tables"])
        assert found == {
            XtTable(family=2, name="nat", read=True),
            XtTable(family=10, name="filter", read=True),
        }


async def test_without_nf_tables_legacy_tables_are_read_all_the_same() -> None:
    """A node's own namespace that gives no netlink socket stands for a kernel without nf_tables."""
    with namespaces() as (ns,):
        ns.exec("iptables-legacy", "-A", "INPUT", "-i", "lo", "-j", "ACCEPT")
        refusing = NetnsHandle(ns.handle.key, -1, None, root=True)  # type: ignore[arg-type]
        host = RecordingHost(refusing)
        collector = Netfilter()
        assert collector.can_run(host) is None
        await collector.start(host)
        collector.attach(ns.handle)
        reading = collector.collect(ns.handle, collector.sections)
        await collector.stop()
        assert list(reading.sections["xt_tables"]) == [XtTable(family=2, name="filter", read=True)]
        assert {chain.name for chain in reading.sections["xt_chains"]} == {"INPUT", "FORWARD", "OUTPUT"}
        assert "ipsets" in reading.sections
        assert {s for s, why in reading.gaps.items() if why.startswith("nf_tables cannot be read: ")} == {
            *NFT_SECTIONS,
            COUNTERS,
        }
        assert {one.legacy for one in reading.sections[COUNTERS]} <= {True}
        assert reading.sections.keys().isdisjoint(NFT_SECTIONS)


async def test_an_event_marks_the_ruleset_dirty() -> None:
    with namespaces() as (ns,):
        host = RecordingHost(ns.handle)
        collector = Netfilter()
        assert collector.can_run(host) is None
        await collector.start(host)
        collector.attach(ns.handle)
        try:
            ns.exec("nft", "add", "table", "ip", "nv-new")
            await until(lambda: (ns.handle.key, "nft_chains") in host.dirtied)
        finally:
            collector.detach(ns.handle)
            host.close()
            await collector.stop()
