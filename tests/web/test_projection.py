"""Projecting a change gives the graph that projecting everything gives, and the delta that says so."""

from __future__ import annotations

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from netviz.core.model.addr import pack_ip
from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.kubernetes import KubeNode
from netviz.core.model.l3 import RT_SCOPE_LINK, Addr, Nexthop, Route
from netviz.core.model.link import IFF_LOOPBACK, IFF_LOWER_UP, IFF_UP, BridgePort, Link, VxlanInfo
from netviz.core.model.netns import Gap, Holder, Netns, Pod
from netviz.core.state.delta import apply, diff, section_of
from netviz.core.state.node import ClusterState, NetnsState, NodeState, SectionStatus
from netviz.core.wire.messages import AgentStatus
from netviz.topology.graph import PARTS, Graph, GraphDelta, Remove, SubnetObject, Upsert, fold
from netviz.topology.node_object import Live
from netviz.topology.objects import netns_name
from netviz.topology.projector import Projector, Update, project
from tests.web.states import pod_network

NODES = ("a", "b")
INODES = (1, 2, 3)
UP = IFF_UP | IFF_LOWER_UP


def keys(node: str) -> st.SearchStrategy[NetnsKey]:
    return st.sampled_from([namespace_key(node, ino) for ino in INODES])


def namespace_key(node: str, ino: int) -> NetnsKey:
    """The last of the namespaces is one that could not be entered."""
    return NetnsKey(node, 0 if ino == 3 else 4, ino)


def links() -> st.SearchStrategy[Link]:
    return st.builds(
        Link,
        ifindex=st.integers(1, 3),
        ifname=st.sampled_from(("eth0", "cni0", "veth1")),
        kind=st.sampled_from(("veth", "veth", "veth", "bridge", "", "macvlan", "vxlan")),
        flags=st.sampled_from((0, UP, UP, UP | IFF_LOOPBACK)),
        link=st.integers(0, 3),
        link_nsid=st.sampled_from((None, 0, 1)),
        master=st.integers(0, 3),
        port=st.sampled_from((None, BridgePort())),
    )


def addrs() -> st.SearchStrategy[Addr]:
    texts = ("10.1.1.2", "10.1.1.1", "192.168.0.1", "fe80::1", "fd00::2", "127.0.0.1")
    return st.builds(
        Addr,
        ifindex=st.integers(1, 3),
        addr=st.sampled_from([pack_ip(text) for text in texts]),
        prefixlen=st.sampled_from((24, 32)),
        scope=st.sampled_from((0, 0, RT_SCOPE_LINK)),
    )


def routes() -> st.SearchStrategy[Route]:
    hop = st.builds(
        Nexthop,
        oif=st.integers(1, 3),
        gateway=st.sampled_from([b"", pack_ip("192.168.0.1"), pack_ip("10.1.1.1")]),
    )
    return st.builds(
        Route,
        table_id=st.sampled_from((254, 255)),
        dst=st.sampled_from([pack_ip("10.1.2.0"), pack_ip("0.0.0.0")]),
        dst_len=st.just(24),
        pos=st.integers(0, 1),
        nexthops=st.tuples(hop),
    )


@st.composite
def namespaces(draw: st.DrawFn, key: NetnsKey) -> NetnsState:
    record = Netns(
        key,
        root=key.ino == 1,
        nsids=tuple(sorted(draw(st.dictionaries(st.integers(0, 1), keys(key.node), max_size=2)).items())),
        pod=draw(st.sampled_from((None, Pod("web", "default")))) if key.ino != 1 else None,
        gaps=draw(st.sampled_from(((), (Gap("links", "closed"),)))),
    )
    return NetnsState(
        record,
        links=section_of(draw(st.lists(links(), max_size=4))),
        addrs=section_of(draw(st.lists(addrs(), max_size=4))),
        routes=section_of(draw(st.lists(routes(), max_size=3))),
    )


@st.composite
def nodes(draw: st.DrawFn, name: str) -> NodeState:
    inodes = draw(st.lists(st.sampled_from(INODES), unique=True))
    found = [draw(namespaces(namespace_key(name, ino))) for ino in inodes]
    status = {"links": SectionStatus(1.0, draw(st.booleans()))}
    return NodeState(name, netns={ns.key: ns for ns in found}, status=status)


def lives() -> st.SearchStrategy[Live]:
    status = st.sampled_from((None, AgentStatus(rss_bytes=7), AgentStatus(lag_s=0.5)))
    return st.builds(Live, connected=st.booleans(), version=st.just("1"), status=status)


@st.composite
def clusters(draw: st.DrawFn) -> tuple[ClusterState, dict[str, Live]]:
    names = draw(st.lists(st.sampled_from(NODES), unique=True))
    live = draw(st.dictionaries(st.sampled_from(NODES), lives()))
    return ClusterState({name: draw(nodes(name)) for name in names}), live


def follow(old: ClusterState, new: ClusterState) -> ClusterState:
    """The new cluster as the server would hold it: what did not change is shared with the old one."""
    return ClusterState(
        {
            name: apply(old.nodes[name], diff(old.nodes[name], node)) if name in old.nodes else node
            for name, node in new.nodes.items()
        }
    )


def flat(update: Update) -> GraphDelta:
    """What a page that watches all nodes is told."""
    every = [update.base, *update.details.values()]
    return GraphDelta(
        Upsert(**{part: [item for one in every for item in getattr(one.upsert, part)] for part in PARTS}),
        Remove(**{part: [key for one in every for key in getattr(one.remove, part)] for part in PARTS}),
    )


@settings(max_examples=150, deadline=None)
@given(st.lists(clusters(), min_size=1, max_size=4))
def test_a_followed_change_equals_a_fresh_projection(
    steps: list[tuple[ClusterState, dict[str, Live]]],
) -> None:
    projector, page, held = Projector(), Graph(), ClusterState()
    for wanted, live in steps:
        held = follow(held, wanted)
        page = fold(page, flat(projector.update(held, live)))
        fresh = project(held, live)
        assert projector.graph() == fresh
        assert page == fresh
        assert not projector.update(held, live), "nothing changed, so nothing is to be said"


def test_a_node_says_on_which_subnet_each_of_its_own_devices_is() -> None:
    """One a device, by its first address that has a subnet; the pods' bridge and host addresses have none."""
    state = pod_network()
    root = state.root
    assert root is not None
    second = Link(5, "eth1", flags=UP, operstate=6, mac=b"\x02\0\0\0\0\x05")
    more = [
        Addr(2, pack_ip("192.168.0.100"), 32),
        Addr(2, pack_ip("fd00::1"), 64),
        Addr(5, pack_ip("fd05::1"), 64),
        Addr(5, pack_ip("172.31.0.9"), 20),
        Addr(5, pack_ip("10.9.0.1"), 32),
    ]
    root = msgspec.structs.replace(
        root,
        links={**root.links, 5: second},
        addrs=section_of([*root.addrs.values(), *more]),
    )
    graph = project(
        ClusterState({"a": msgspec.structs.replace(state, netns={**state.netns, root.key: root})}), {}
    )
    assert graph.nodes["a"].subnets == (
        SubnetObject("eth0", "192.168.0.0/24"),
        SubnetObject("eth1", "172.31.0.0/20"),
    )


def test_a_pod_network_is_drawn_as_it_is() -> None:
    cluster = ClusterState({"a": pod_network(), "b": pod_network(node="b", third=2)})
    graph = project(cluster, {"a": Live(connected=True, version="1", status=AgentStatus())})
    node = graph.nodes["a"]
    assert (node.connected, node.complete, node.kernel) == (True, True, "6.18")
    assert node.addrs == ("192.168.0.1/24",)
    assert node.pod_cidrs == ("10.1.1.0/24",)
    assert [(r.dst, r.via, r.dev, r.to_node) for r in graph.routes["a"].routes] == [
        ("10.1.2.0/24", "192.168.0.2", "eth0", "b")
    ]
    assert graph.nodes["b"].connected is False
    veth, pod_end = graph.links["a:4:1:0:100"], graph.links["a:4:10:0:2"]
    assert (veth.peer, veth.peer_state, veth.master) == (pod_end.key, "proved", "a:4:1:0:3")
    assert (pod_end.peer, pod_end.addrs) == (veth.key, ("10.1.1.2/24",))
    assert veth.port_state == "forwarding"
    assert pod_end.port_state is None
    assert graph.netns["a:4:10:0"].name == "web-0"
    assert graph.netns["a:4:10:0"].addrs == ("10.1.1.2/24",)


def test_only_what_changed_is_projected_again() -> None:
    before = pod_network(pods=20)
    projector = Projector()
    projector.update(ClusterState({"a": before}), {})
    objects = {key: id(link) for key, link in projector.graph().links.items()}
    gone = NetnsKey("a", 4, 15)
    smaller = NodeState(
        "a", "6.18", netns={k: v for k, v in before.netns.items() if k != gone}, status=before.status
    )
    after = apply(before, diff(before, smaller))
    delta = flat(projector.update(ClusterState({"a": after}), {}))
    assert delta.remove.netns == [str(gone)]
    assert sorted(delta.remove.links) == [str(LinkKey(gone, 1)), str(LinkKey(gone, 2))]
    assert [link.ifname for link in delta.upsert.links] == ["veth5"]
    assert delta.upsert.links[0].peer_state == "unresolved"
    kept = [key for key in projector.graph().links if id(projector.graph().links[key]) == objects[key]]
    assert len(kept) == len(objects) - 3


def test_vxlan_shows_its_vni_and_the_fallback_names() -> None:
    key = NetnsKey("a", 4, 9)
    held = NetnsState(Netns(key, holders=(Holder("process", "redis", 71),)))
    assert netns_name(held) == "redis[71]"
    assert netns_name(NetnsState(Netns(NetnsKey("a", 0, 3)))) == "nsid 3"
    tunnel = NetnsState(Netns(key), links=section_of([Link(4, "flannel.1", "vxlan", info=VxlanInfo(vni=7))]))
    graph = project(ClusterState({"a": NodeState("a", netns={key: tunnel})}), {})
    assert graph.links["a:4:9:0:4"].vni == 7


def test_a_macvlan_names_the_device_that_it_lies_over_while_that_is_known() -> None:
    root, pod = NetnsKey("a", 4, 1), NetnsKey("a", 4, 2)
    upper = NetnsState(
        Netns(pod, nsids=((0, root),)), links=section_of([Link(2, "eth0", "macvlan", link=5, link_nsid=0)])
    )
    with_nic = NetnsState(Netns(root, root=True), links=section_of([Link(5, "eth0", "")]))
    without = msgspec.structs.replace(with_nic, links={})
    projector = Projector()
    for top, lower in ((without, None), (with_nic, "a:4:1:0:5"), (without, None)):
        projector.update(ClusterState({"a": NodeState("a", netns={root: top, pod: upper})}), {})
        assert projector.graph().links["a:4:2:0:2"].lower == lower


def test_what_lies_behind_a_nodes_uplink_is_not_part_of_the_node() -> None:
    state = pod_network()
    root, outside = NetnsKey("a", 4, 1), NetnsKey("a", 0, 7)
    old = state.netns[root]
    uplink = Link(2, "eth0", "veth", flags=UP, link=9, link_nsid=7)
    record = msgspec.structs.replace(old.netns, nsids=(*old.netns.nsids, (7, outside)))
    top = msgspec.structs.replace(old, netns=record, links={**old.links, 2: uplink})
    switch = NetnsState(
        Netns(outside, holders=(Holder("veth"),), nsids=((0, root),)),
        links=section_of(
            [Link(9, "node-a", "veth", flags=UP, link=2, link_nsid=0), Link(1, "br0", "bridge")]
        ),
        addrs=section_of([Addr(1, pack_ip("10.1.1.2"), 24)]),
    )
    both = {**state.netns, root: top, outside: switch}
    graph = project(ClusterState({"a": msgspec.structs.replace(state, netns=both)}), {})
    assert not any(key.startswith("a:0:7") for key in (*graph.netns, *graph.links))
    assert (graph.links["a:4:1:0:2"].peer, graph.links["a:4:1:0:2"].peer_state) == (None, "unresolved")
    assert graph.nodes["a"].addrs == ("192.168.0.1/24",)
    pod = {**both, root: msgspec.structs.replace(top, routes={})}
    graph = project(ClusterState({"a": msgspec.structs.replace(state, netns=pod)}), {})
    assert "a:0:7:0" in graph.netns, "without a gateway behind it, it could be a pod"
    assert graph.links["a:4:1:0:2"].peer == "a:0:7:0:9"


def test_a_node_that_only_the_inventory_knows_is_shown_unconnected() -> None:
    graph = project(ClusterState(), {"ghost": Live()})
    assert graph.nodes["ghost"].connected is False
    assert graph.nodes["ghost"].complete is False


def test_a_node_says_its_labels_and_where_most_of_its_pods_are() -> None:
    state = pod_network(pods=3)
    labels = {"kubernetes.io/hostname": "a", "topology.kubernetes.io/zone": "z1"}
    labels |= {f"label-{number:02}": "x" for number in range(30)}
    objects = msgspec.structs.replace(state.objects, kube_nodes={"a": KubeNode("a", labels=labels)})
    graph = project(ClusterState({"a": msgspec.structs.replace(state, objects=objects)}), {})
    node = graph.nodes["a"]
    assert node.namespace == "default"
    assert node.kube is not None
    assert (node.kube.zone, len(node.kube.labels)) == ("z1", 16)
    assert "kubernetes.io/hostname" not in node.kube.labels
    assert project(ClusterState({"a": pod_network(pods=0)}), {}).nodes["a"].namespace is None
