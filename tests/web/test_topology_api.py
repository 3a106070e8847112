"""GET /api/topology and GET /api/netns/<key>."""

from __future__ import annotations

import time
from collections.abc import Callable

import msgspec
import pytest
from django.test import Client

from netviz.core.model.addr import pack_ip, pack_mac
from netviz.core.model.conntrack import IPS_ASSURED, IPS_SEEN_REPLY, IPS_SRC_NAT, CtEntry
from netviz.core.model.ids import NetnsKey
from netviz.core.model.l2 import NUD_PERMANENT, NUD_REACHABLE, Fdb, Neigh
from netviz.core.model.l3 import Nexthop, Route, Rule
from netviz.core.model.link import LinkCounters
from netviz.core.model.netfilter import (
    NF_POST_ROUTING,
    ChainBody,
    NftChain,
    NftExpr,
    NftRuleBody,
    NftTable,
    RuleCount,
    RuleCounters,
    body_digest,
)
from netviz.core.model.netns import Sysctl
from netviz.core.model.socket import Socket
from netviz.core.sim.words.iproute import rule_body
from netviz.core.state.delta import section_of
from netviz.core.wire.messages import AgentStatus
from netviz.ingest.memory_store import MemoryStore
from netviz.ingest.store import CollectorReport
from netviz.topology import nfttext
from tests.web.states import pod_network, show

pytestmark = pytest.mark.django_db


@pytest.fixture
def viewer(token: Callable[[str], str]) -> Client:
    """A program with a viewer's API token."""
    return Client(headers={"Authorization": f"Bearer {token('viewer')}"})


def test_the_topology_has_the_documented_fields(store: MemoryStore, viewer: Client) -> None:
    show(store, pod_network())
    report = CollectorReport("0.1.0", AgentStatus(rss_bytes=50 << 20, lag_s=0.02, lost_events=3))
    store.report("a", report, time.time())
    body = viewer.get("/api/topology").json()
    assert set(body) == {
        "revision",
        "clusters",
        "nodes",
        "pods",
        "routes",
        "netns",
        "links",
        "problems",
        "checking",
    }
    (node,) = body["nodes"]
    assert (node["name"], node["complete"], node["connected"], node["age_s"]) == ("a", True, True, 0.0)
    assert node["collector"] == {
        "version": "0.1.0",
        "lag_s": 0.02,
        "lost_events": 3,
        "shed_events": 0,
        "rss_bytes": 50 << 20,
        "cpu": 0.0,
    }
    pod = next(ns for ns in body["netns"] if ns["key"] == "a:4:10:0")
    assert pod["pod"] == {"name": "web-0", "namespace": "default"}
    assert (pod["node"], pod["name"], pod["holders"]) == ("a", "web-0", [])
    link = next(link for link in body["links"] if link["key"] == "a:4:10:0:2")
    assert {name: link[name] for name in ("netns", "ifname", "ifindex", "kind", "mtu", "state")} == {
        "netns": "a:4:10:0",
        "ifname": "eth0",
        "ifindex": 2,
        "kind": "veth",
        "mtu": 1500,
        "state": "unknown",
    }
    assert (link["addrs"], link["master"], link["peer"], link["peer_state"]) == (
        ["10.1.1.2/24"],
        None,
        "a:4:1:0:100",
        "proved",
    )


def test_the_revision_stays_while_nothing_changes(store: MemoryStore, viewer: Client) -> None:
    show(store, pod_network())
    first = viewer.get("/api/topology").json()
    assert viewer.get("/api/topology").json() == first
    show(store, pod_network(pods=3))
    assert viewer.get("/api/topology").json()["revision"] > first["revision"]


@pytest.mark.parametrize(
    ("query", "nodes", "netns", "links"),
    [
        ("node=a", ["a"], 3, 9),
        ("pod=web-0", ["a", "b"], 2, 4),
        ("pod=default/web-1&node=b", ["b"], 1, 2),
        ("pod=other/web-1", [], 0, 0),
        ("node=nothing", [], 0, 0),
    ],
)
def test_filters(
    store: MemoryStore, viewer: Client, query: str, nodes: list[str], netns: int, links: int
) -> None:
    show(store, pod_network())
    show(store, pod_network(node="b", third=2))
    body = viewer.get(f"/api/topology?{query}").json()
    assert [node["name"] for node in body["nodes"]] == nodes
    assert (len(body["netns"]), len(body["links"])) == (netns, links)


def detailed_store(store: MemoryStore) -> None:
    """A pod network whose root namespace has something in every section."""
    state = pod_network()
    key = NetnsKey("a", 4, 1)
    masquerade = ChainBody((NftRuleBody((NftExpr("masq", {}),), comment="leaves the cluster"),))
    chain = NftChain(
        2,
        "nat",
        "post",
        type="nat",
        hook=NF_POST_ROUTING,
        priority=100,
        body=body_digest(masquerade),
        handles=(4,),
    )
    lost = NftChain(2, "nat", "gone", body=b"x" * 16, handles=(1, 2))
    root = msgspec.structs.replace(
        state.netns[key],
        routes=section_of(
            [
                Route(254, b"\0" * 4, 0, protocol=3, nexthops=(Nexthop(2, pack_ip("192.168.0.254")),)),
                Route(255, pack_ip("10.1.1.1"), 32, type=2, scope=254, nexthops=(Nexthop(3),)),
                Route(254, pack_ip("10.1.1.0"), 24, protocol=2, scope=253, nexthops=(Nexthop(3),)),
            ]
        ),
        rules=section_of([Rule(2, 32766, table_id=254), Rule(2, 0, table_id=255)]),
        neighs=section_of([Neigh(2, pack_ip("192.168.0.254"), pack_mac("02:00:00:00:00:fe"), NUD_REACHABLE)]),
        fdb=section_of([Fdb(100, pack_mac("02:00:00:00:01:02"), state=NUD_PERMANENT, master=3)]),
        sockets=section_of(
            [Socket(6, b"\0" * 4, 10250, cookie=1), Socket(17, b"\0" * 16, 53, state=7, cookie=2)]
        ),
        conntrack=section_of(
            [
                CtEntry(
                    6,
                    pack_ip("10.1.1.2"),
                    pack_ip("1.2.3.4"),
                    4000,
                    443,
                    pack_ip("1.2.3.4"),
                    pack_ip("192.168.0.1"),
                    443,
                    4000,
                    status=IPS_SEEN_REPLY | IPS_ASSURED | IPS_SRC_NAT,
                )
            ]
        ),
        nft_tables=section_of([NftTable(2, "nat")]),
        nft_chains=section_of([chain, lost]),
        sysctls=section_of([Sysctl("net.ipv4.ip_forward", 1)]),
        counters=section_of([LinkCounters(2, rx_packets=7, tx_dropped=1)]),
    )
    show(store, msgspec.structs.replace(state, netns={**state.netns, key: root}))
    store.put_bodies([masquerade])


def test_the_inspector_gets_everything_as_text(store: MemoryStore, viewer: Client) -> None:
    detailed_store(store)
    body = viewer.get("/api/netns/a%3A4%3A1%3A0").json()
    assert (body["key"], body["root"], body["left_off"]) == ("a:4:1:0", True, {})
    assert [(r["dst"], r["via"], r["dev"], r["table"], r["proto"]) for r in body["routes"]] == [
        ("10.1.1.0/24", "", "cni0", "main", "kernel"),
        ("default", "192.168.0.254", "eth0", "main", "boot"),
        ("10.1.1.1/32", "", "cni0", "local", "0"),
    ]
    assert body["routes"][-1]["type"] == "local"
    assert body["rules"] == [
        {"priority": 0, "text": "from all lookup local"},
        {"priority": 32766, "text": "from all lookup main"},
    ]
    assert body["neighs"] == [
        {"dst": "192.168.0.254", "mac": "02:00:00:00:00:fe", "dev": "eth0", "state": "reachable"}
    ]
    assert body["fdb"][0] | {"vlan": ""} == {
        "mac": "02:00:00:00:01:02",
        "dev": "veth0",
        "vlan": "",
        "dst": "",
        "state": "permanent",
    }
    assert body["sockets"] == [
        {"proto": "tcp", "addr": "0.0.0.0", "port": 10250, "state": "listen"},
        {"proto": "udp", "addr": "::", "port": 53, "state": "bound"},
    ]
    assert body["conntrack"] == {
        "entries": 1,
        "sample": [
            {
                "proto": "tcp",
                "orig": "10.1.1.2:4000 > 1.2.3.4:443",
                "reply": "1.2.3.4:443 > 192.168.0.1:4000",
                "status": "seen-reply assured snat",
            }
        ],
    }
    post, gone = body["nft"]
    assert (post["family"], post["table"], post["hook"], post["priority"], post["policy"]) == (
        "ip",
        "nat",
        "postrouting",
        100,
        "accept",
    )
    assert post["rules"] == ['masquerade comment "leaves the cluster"']
    assert "have not arrived" in gone["rules"][0]
    assert body["sysctls"] == [{"name": "net.ipv4.ip_forward", "value": 1}]
    eth0 = next(link for link in body["links"] if link["ifname"] == "eth0")
    assert (eth0["counters"]["rx_packets"], eth0["counters"]["tx_dropped"]) == (7, 1)
    assert next(link for link in body["links"] if link["ifname"] == "cni0")["counters"] is None


@pytest.mark.parametrize(("key", "status"), [("a:4:99:0", 404), ("z:4:1:0", 404), ("nonsense", 400)])
def test_unknown_namespaces_are_told(store: MemoryStore, viewer: Client, key: str, status: int) -> None:
    show(store, pod_network())
    answer = viewer.get(f"/api/netns/{key}")
    assert answer.status_code == status
    assert list(answer.json()) == ["error"]


def test_long_lists_are_cut_and_say_so(
    store: MemoryStore, viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    from netviz.topology import detail

    monkeypatch.setattr(detail, "MAX_ROWS", 2)
    detailed_store(store)
    body = viewer.get("/api/netns/a:4:1:0").json()
    assert len(body["routes"]) == 2
    assert body["left_off"] == {"links": 3, "routes": 1}


def test_a_rule_that_cannot_be_read_is_shown_as_its_expressions() -> None:
    rule = NftRuleBody(
        (NftExpr("mystery", {"raw": b"\x01\x02"}), NftExpr("cmp", {"op": 1, "sreg": 1, "data": b"\x0a"}))
    )
    assert nfttext.expressions_text(rule) == "mystery raw 0x0102; cmp reg 1 != 0x0a"
    jump = NftExpr("immediate", {"dreg": 0, "data": {"code": -3, "chain": "KUBE-SVC"}})
    assert nfttext.expressions_text(NftRuleBody((jump,), "why")) == 'jump KUBE-SVC  # "why"'
    assert nfttext.rule_text(NftRuleBody((NftExpr("bitwise", {}),)))


def test_the_inspector_shows_policy_rules_whole(store: MemoryStore, viewer: Client) -> None:
    """In the same words as a trace: masks, flow label and the group that suppresses a route too."""
    rules = (
        Rule(2, 7, fwmark=1, fwmask=0xFF, sport=(16, 16), sport_mask=0xFFF0, dscp=2, dscp_mask=6, table_id=9),
        Rule(10, 8, flowlabel=0x12, flowlabel_mask=0xFF, table_id=254, suppress_ifgroup=3),
    )
    state = pod_network()
    key = NetnsKey("a", 4, 1)
    ns = msgspec.structs.replace(state.netns[key], rules={rule.key: rule for rule in rules})
    show(store, msgspec.structs.replace(state, netns={**state.netns, key: ns}))
    shown = viewer.get(f"/api/netns/{key}").json()["rules"]
    assert shown == [{"priority": rule.priority, "text": rule_body(rule)} for rule in rules]
    assert [row["text"] for row in shown] == [
        "from all fwmark 0x1/0xff sport 0x10/0xfff0 dscp 0x2/0x6 lookup 9",
        "from all flowlabel 0x12/0xff lookup main suppress_ifgroup 3",
    ]


def test_what_an_address_meets_is_what_the_simulator_finds(store: MemoryStore, viewer: Client) -> None:
    state = pod_network()
    key = next(key for key, ns in state.netns.items() if ns.netns.root)
    root = state.netns[key]
    gateway, mac = pack_ip("192.168.0.2"), pack_mac("02:00:00:00:00:09")
    narrow = Route(100, pack_ip("10.1.2.0"), 25, nexthops=(Nexthop(2, pack_ip("192.168.0.7")),))
    caught = Route(254, pack_ip("10.9.0.0"), 16, type=6)
    root = msgspec.structs.replace(
        root,
        rules=section_of(
            [Rule(2, 100, src=pack_ip("10.7.0.0"), src_len=16, table_id=100), Rule(2, 32766, table_id=254)]
        ),
        routes=section_of([*root.routes.values(), narrow, caught]),
        neighs=section_of([Neigh(2, gateway, mac, NUD_REACHABLE), Neigh(3, pack_ip("10.1.1.2"), mac)]),
        fdb=section_of([Fdb(100, mac, master=3)]),
    )
    show(store, msgspec.structs.replace(state, netns={**state.netns, key: root}))
    detail = viewer.get(f"/api/netns/{key}").json()

    def match(text: str) -> dict[str, object]:
        found: dict[str, object] = viewer.get(f"/api/netns/{key}/match", {"addr": text}).json()
        return found

    found = match(" 10.1.2.9 ")
    assert found["says"] == "10.1.2.9 goes via 192.168.0.2 on eth0, by table main."
    assert found["rules"] == [detail["rules"][1]]
    assert found["routes"] == [row for row in detail["routes"] if row["dst"] == "10.1.2.0/24"]
    assert found["neighs"] == [row for row in detail["neighs"] if row["dst"] == "192.168.0.2"]
    assert match("10.9.1.1")["says"] == "Nothing is sent to 10.9.1.1: blackhole route (EINVAL)."
    assert match("8.8.8.8")["says"] == "Nothing is sent to 8.8.8.8: no route (ENETUNREACH)."
    by_mac = match("02-00-00-00-00-09")
    assert by_mac["says"] == "In 2 neighbours and 1 FDB entry."
    assert by_mac["fdb"] == detail["fdb"]
    assert match("fd00::1")["says"] == (
        "Where fd00::1 is routed isn't known: the state holds no policy rules for this family."
    )
    for wrong in ("", "web-1", "10.1.2", "10.1.2.0/24"):
        assert viewer.get(f"/api/netns/{key}/match", {"addr": wrong}).status_code == 400
    assert viewer.get("/api/netns/a:4:99:0/match?addr=10.1.1.1").status_code == 404


def test_rules_are_shown_with_what_they_counted(store: MemoryStore, viewer: Client) -> None:
    counted, bare = NftRuleBody((NftExpr("counter", {}),), "counted"), NftRuleBody((), "bare")
    body = ChainBody((counted, bare, counted))
    chain = NftChain(2, "filter", "FORWARD", hook=2, body=body_digest(body), handles=(1, 2, 3))
    state = pod_network()
    key = next(key for key, ns in state.netns.items() if ns.netns.root)
    counters = RuleCounters(
        2, "filter", "FORWARD", rules=chain.body, counts=(RuleCount(2, 7, 700),), at_s=1e9
    )

    def shown(counters: RuleCounters) -> dict[str, object]:
        root = msgspec.structs.replace(
            state.netns[key], nft_chains=section_of([chain]), rule_counters=section_of([counters])
        )
        show(store, msgspec.structs.replace(state, netns={**state.netns, key: root}))
        store.put_bodies([body])
        row: dict[str, object] = viewer.get(f"/api/netns/{key}").json()["nft"][0]
        return row

    row = shown(counters)
    assert (row["counts"], row["counted_at"]) == ([[0, 0], None, [7, 700]], 1e9)
    of_others = msgspec.structs.replace(counters, rules=body_digest(ChainBody((bare,))))
    row = shown(of_others)
    assert (row["counts"], row["counted_at"]) == ([], None)
