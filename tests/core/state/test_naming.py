"""What the API says of nodes, laid over their states: by differences as from scratch, and never guessed."""

from __future__ import annotations

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from netviz.core.model.addr import pack_ip
from netviz.core.model.ids import NetnsKey
from netviz.core.model.kubernetes import Condition, KubeNode, KubePod, Owner, Workload
from netviz.core.model.l3 import Addr
from netviz.core.model.netns import Netns, Pod
from netviz.core.state.delta import NodeDelta, diff
from netviz.core.state.naming import Overlay, named
from netviz.core.state.node import ClusterState, NetnsState, NodeState, SectionStatus
from netviz.core.state.objects import Objects, cluster_source
from netviz.core.state.pods import condition, joined, workload_of

SOURCE = cluster_source("c")
KEY = NetnsKey("n1", 4, 10)
IP, OTHER = pack_ip("10.0.0.5"), pack_ip("10.0.0.6")


def source(*pods: KubePod, whole: bool = True, **sections: Any) -> NodeState:
    """The API's state with pods."""
    status = {"kube_pods": SectionStatus(1.0, whole=whole)}
    return NodeState(
        SOURCE, status=status, objects=Objects(kube_pods={one.key: one for one in pods}, **sections)
    )


def node(pod: Pod | None = None, addr: bytes = IP, name: str = "n1") -> NodeState:
    """A node with one namespace beside its own."""
    key = NetnsKey(name, 4, 10)
    space = NetnsState(Netns(key, pod=pod), addrs={1: Addr(2, addr, 24)})
    return NodeState(
        name, netns={key: space, NetnsKey(name, 4, 1): NetnsState(Netns(NetnsKey(name, 4, 1), "", True))}
    )


def pod(name: str = "web", ip: bytes = IP, node: str = "n1", **more: Any) -> KubePod:
    return KubePod("shop", name, uid=f"uid-{name}", node=node, ips=(ip,), phase="Running", **more)


def name_of(cluster: ClusterState, name: str = "n1") -> str | None:
    told = cluster.nodes[name].netns[NetnsKey(name, 4, 10)].netns.pod
    return None if told is None else told.name


def of(state: NodeState, api: NodeState) -> ClusterState:
    return named(ClusterState({state.node: state}, clusters={"c": api}))


def test_an_address_names_a_namespace_where_one_pod_has_it() -> None:
    assert name_of(of(node(), source(pod()))) == "web"
    assert name_of(of(node(), source(pod(), pod("api")))) is None
    assert name_of(of(node(), source(pod(node="n2")))) is None
    assert name_of(of(node(), source(pod(host_network=True)))) is None
    assert name_of(of(node(), source(pod(), whole=False))) is None
    runtime = Pod("other", "shop", "x", source="cri")
    assert name_of(of(node(runtime), source(pod()))) == "other"


def test_a_name_stays_while_the_api_is_away_and_none_is_given() -> None:
    overlay = Overlay()
    there, away = source(pod(), pod("api", OTHER)), source(pod(), pod("api", OTHER), whole=False)
    overlay.follow(None, there)
    first = overlay.laid(node())
    assert name_of(ClusterState({"n1": first})) == "web"
    assert overlay.follow(there, away) == {"n1"}
    assert name_of(ClusterState({"n1": overlay.laid(node())})) == "web"
    assert name_of(ClusterState({"n1": overlay.laid(node(addr=OTHER))})) is None, "it might be another's now"


def test_only_what_changed_is_another_state() -> None:
    overlay, api = Overlay(), source(pod(), pod("db", node="n2"))
    overlay.follow(None, api)
    state = node()
    first = overlay.laid(state)
    assert overlay.laid(state) is first
    again = source(pod(), pod("db", node="n2", labels={"a": "b"}))
    assert overlay.follow(api, again, diff(api, again)) == {"n2"}
    assert overlay.laid(state) is first
    assert overlay.laid(NodeState("n9")) == NodeState("n9")


def test_a_replaced_pod_isnt_the_one_of_its_name() -> None:
    old, new = Pod("web", "shop", "uid-old", source="cri"), pod()
    assert joined(of(node(old), source(new)).nodes["n1"]) == {}
    static = pod(owner=Owner("Node", "n1"))
    assert joined(of(node(old), source(static)).nodes["n1"]) == {new.key: KEY}
    same = Pod("web", "shop", "uid-web", source="cri")
    assert joined(of(node(same), source(new)).nodes["n1"]) == {new.key: KEY}


def test_a_workload_is_what_users_know() -> None:
    replicas = Workload("ReplicaSet", "shop", "web-5d", owner=Owner("Deployment", "web"))
    one = pod(owner=Owner("ReplicaSet", "web-5d"))
    laid = of(node(), source(one, workloads={replicas.key: replicas})).nodes["n1"]
    assert workload_of(one, laid.objects.workloads) == ("Deployment", "web")
    assert workload_of(one, {}) == ("ReplicaSet", "web-5d")
    assert workload_of(pod(owner=Owner("StatefulSet", "db")), {}) == ("StatefulSet", "db")
    assert workload_of(pod(), {}) is workload_of(pod(owner=Owner("Node", "n1")), {}) is None
    overlay = Overlay()
    before, after = source(one), source(one, workloads={replicas.key: replicas})
    overlay.follow(None, before)
    assert overlay.follow(before, after, diff(before, after)) == {"n1"}


def test_what_isnt_said_isnt_known() -> None:
    assert condition((), "Ready") is condition((Condition("Ready", "Unknown"),), "Ready") is None
    assert condition((Condition("Ready", "False"),), "Ready") is False


NODES = ("n1", "n2", "")
PODS = st.builds(
    pod,
    name=st.sampled_from("abc"),
    ip=st.sampled_from((IP, OTHER)),
    node=st.sampled_from(NODES),
    owner=st.sampled_from((None, Owner("ReplicaSet", "r1"), Owner("ReplicaSet", "r2"))),
)
SOURCES = st.builds(
    lambda pods, nodes, owners, whole: source(
        *pods,
        whole=whole,
        kube_nodes={name: KubeNode(name) for name in nodes},
        workloads={
            ("ReplicaSet", "shop", name): Workload("ReplicaSet", "shop", name, owner=Owner("Deployment", to))
            for name, to in owners.items()
        },
    ),
    st.lists(PODS, max_size=4),
    st.sets(st.sampled_from(NODES[:2])),
    st.dictionaries(st.sampled_from(("r1", "r2")), st.sampled_from(("x", "y"))),
    st.just(True),
)


@given(st.lists(st.tuples(SOURCES, st.booleans()), min_size=1, max_size=4))
def test_following_comes_to_what_is_made_from_scratch(steps: list[tuple[NodeState, bool]]) -> None:
    overlay, held, states = Overlay(), NodeState(SOURCE), {name: node(name=name) for name in NODES[:2]}
    shown = {name: overlay.laid(state) for name, state in states.items()}
    for api, by_delta in steps:
        delta: NodeDelta | None = diff(held, api) if by_delta else None
        for name in overlay.follow(held, api, delta) & states.keys():
            shown[name] = overlay.laid(states[name])
        held = api
        assert shown == dict(named(ClusterState(states, clusters={"c": api})).nodes)
    overlay.follow(held, None)
    assert {name: overlay.laid(state) for name, state in states.items()} == states
    assert not overlay._owning


def test_two_states_of_one_node_share_what_they_can() -> None:
    overlay, api = Overlay(), source(pod())
    overlay.follow(None, api)
    before = overlay.laid(node())
    root = NetnsKey("n1", 4, 1)
    changed = msgspec.structs.replace(
        node(), netns={**node().netns, root: NetnsState(Netns(root, "renamed", True))}
    )
    space = changed.netns[KEY]
    first = overlay.laid(changed)
    again = overlay.laid(msgspec.structs.replace(changed, kernel="6.18"))
    assert first.netns[KEY] is again.netns[KEY]
    assert before.netns[KEY].netns.pod == again.netns[KEY].netns.pod
    assert space.netns.pod is None
