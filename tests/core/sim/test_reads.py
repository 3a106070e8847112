"""What a trace asked of the state decides whether it is current: answered alike, it is the same trace.

Held to random changes of the frozen cases' states, which are as varied as the lab could make them.
"""

from __future__ import annotations

import gc
import random
from collections.abc import Callable
from typing import Any
from weakref import ref

import msgspec
import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.conntrack import CtEntry
from netviz.core.model.link import LinkCounters
from netviz.core.model.netfilter import RuleCounters, SetElem
from netviz.core.model.netns import Pod
from netviz.core.sim import state_views
from netviz.core.sim.context import simulate_in_context
from netviz.core.sim.endpoints import resolve_flow
from netviz.core.sim.link.underlay_members import members_of
from netviz.core.sim.node_index import names_of, tunnels_of, uppers_of
from netviz.core.sim.one_read import OneRead
from netviz.core.sim.reads import ABSENT, Read, Reads, Recording
from netviz.core.sim.render import trace_json
from netviz.core.sim.section_views import Sealed
from netviz.core.sim.trace import Flow
from netviz.core.state.node import SECTIONS, ClusterState, NetnsState, NodeState
from tests.core.sim.build import Net, Ns, textbook
from tests.core.sim.changes import change
from tests.core.sim.nft import ACCEPT, DROP, FORWARD, INPUT, chain, ct_state, e, elements, saddr, verdict
from tests.live.oracle.cases import load_cases
from tests.live.oracle.frozen import read_frozen
from tests.live.oracle.predict import flow_of

CHANGES = 12


def recorded(cluster: ClusterState, flow: Flow) -> tuple[dict[str, Any], Reads]:
    """Trace, and write down what was asked."""
    recording = Recording(cluster)
    trace = trace_json(simulate_in_context(recording.cluster, flow))
    return trace, recording.reads()


def case(name: str) -> tuple[ClusterState, Flow]:
    observed = read_frozen(name).observed()
    return observed.state, flow_of(observed.state, observed.results[0].probe)


@pytest.mark.parametrize("name", load_cases())
def test_answered_alike_it_is_the_same_trace(name: str) -> None:
    state, flow = case(name)
    plain = trace_json(simulate_in_context(state, flow))
    trace, reads = recorded(state, flow)
    assert trace == plain, "recorded, it is another trace"
    assert reads.hold(state)
    again, _ = case(name)
    assert not list(reads.changed(again)), "what is equal is not answered alike"
    for seed in range(CHANGES):
        rng = random.Random(f"{name} {seed}")
        now = state
        for _ in range(rng.choice((1, 1, 1, 3))):
            now = change(rng, now)
        if reads.hold(now):
            assert trace_json(simulate_in_context(now, flow)) == trace, f"{name} {seed}"


class Touched:
    """A namespace that notes which of its parts are looked at."""

    def __init__(self, ns: NetnsState) -> None:
        self._ns = ns
        self.parts: set[str] = set()

    def __getattr__(self, name: str) -> Any:
        self.parts.update(("refused", "netns") if name == "gaps" else (name,))
        return getattr(self._ns, name)


def touching(node: NodeState) -> tuple[NodeState, list[Touched]]:
    """Make a node whose namespaces note what is looked at."""
    spaces: Any = {key: Touched(ns) for key, ns in node.netns.items()}
    return msgspec.structs.replace(node, netns=spaces), list(spaces.values())


def test_what_counts_as_one_question_names_the_sections_that_it_looks_at(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Those sections decide whether it is put again, and whether what it says is fresh."""
    seen: set[str] = set()

    def put(question: OneRead, args: tuple[Any, ...], subject: Any, bodies: Any) -> Any:
        spaces: list[Touched] = []
        if isinstance(subject, NetnsState):
            subject = Touched(subject)
            spaces = [subject]
        elif isinstance(subject, NodeState):
            subject, spaces = touching(subject)
        found = state_views_put(question, args, subject, bodies)
        looked_at = {part for space in spaces for part in space.parts} & set(SECTIONS)
        assert looked_at <= set(question.sections)
        seen.add(question.__name__)
        return found

    state_views_put = state_views.put
    monkeypatch.setattr(state_views, "put", put)
    for name in [*load_cases()][::3]:
        state, flow = case(name)
        recorded(state, flow)
        for node in state.nodes.values():
            for index in (uppers_of, tunnels_of, names_of, members_of):
                other, spaces = touching(node)
                index(other.netns)
                assert {part for space in spaces for part in space.parts} & set(SECTIONS) <= set(
                    index.sections
                )
    assert {"lookup_route", "peer_of", "select_on_link", "source6", "full_table", "_asked"} <= seen


def tracked_textbook() -> tuple[Net, dict[str, Ns]]:
    """The textbook cluster, with a rule on node-1 that makes it track connections."""
    net, made = textbook(2, 3)
    source, lookup = saddr("10.1.1.11")[0], e("lookup", set="blocked", sreg=1)
    spared = (source, e("lookup", set="blocked", sreg=1, flags=1), verdict(ACCEPT))
    rules = ((*ct_state(2), verdict(ACCEPT)), (source, lookup, verdict(DROP)), spared)
    chain(made["node-1"], "forward", *rules, hook=FORWARD)
    elements(made["node-1"], "blocked", SetElem(pack_ip("10.1.1.12")))
    return net, made


def block(made: dict[str, Ns], *addrs: str) -> None:
    """Make another set of those who are blocked."""
    made["node-1"].lists["nft_sets"].clear()
    elements(made["node-1"], "blocked", *(SetElem(pack_ip(addr)) for addr in addrs))


def entry(sport: int) -> CtEntry:
    ends = (pack_ip("10.1.1.11"), pack_ip("10.1.2.11"))
    return CtEntry(6, *ends, sport, 80, *ends[::-1], 80, sport, status=14, tcp_state=3)


IRRELEVANT: dict[str, Callable[[dict[str, Ns]], object]] = {
    "another pod's route": lambda made: made["pod-1-3"].route("10.9.0.0/16", "10.1.1.1"),
    "a less specific route": lambda made: made["node-1"].route("10.0.0.0/8", "192.168.0.7"),
    "a route to somewhere else": lambda made: made["node-1"].route("10.1.3.0/24", "192.168.0.3"),
    "a neighbour entry for another address": lambda made: made["pod-1-1"].neigh(
        "eth0", "10.1.1.99", bytes(6)
    ),
    "conntrack of another tuple": lambda made: made["node-1"].conntrack(entry(50001)),
    "a socket on another port": lambda made: made["pod-2-1"].listen("tcp", 81),
    "the same port in another pod": lambda made: made["pod-2-2"].listen("tcp", 8080),
    "a MAC in the forwarding database": lambda made: made["node-1"].fdb("veth-pod-1-2", b"\x02" * 6, 2),
    "counters": lambda made: made["node-1"].add("counters", LinkCounters(2, rx_packets=7)),
    "what rules have counted": lambda made: made["node-1"].add("rule_counters", RuleCounters(2, "t", "c")),
    "a setting that nobody asks for": lambda made: made["node-2"].sysctl("net.ipv4.tcp_l3mdev_accept", 1),
    "an address in another pod": lambda made: made["pod-2-3"].addr("eth0", "10.7.7.7/24"),
    "another pod's link": lambda made: made["pod-2-3"].link("dummy0", "dummy"),
    "a node": lambda made: made["node-1"].net.node("node-9").nic("ens3", "192.168.0.9/24"),
    "another element of a set": lambda made: block(made, "10.1.1.12", "10.1.1.13"),
    "a chain at another hook": lambda made: chain(made["node-1"], "late", (verdict(DROP),), hook=INPUT),
}
RELEVANT: dict[str, Callable[[dict[str, Ns]], object]] = {
    "a more specific route": lambda made: made["node-1"].route("10.1.2.11/32", "192.168.0.9"),
    "a route taken away": lambda made: made["node-1"].no_route("10.1.2.0/24"),
    "a policy rule": lambda made: made["node-1"].rule(100, table_id=77, fwmark=1, fwmask=1, goto=0),
    "a first neighbour entry": lambda made: made["pod-1-1"].neigh("eth0", "10.1.1.1", b"\x02" * 6),
    "conntrack of its own tuple": lambda made: made["node-1"].conntrack(entry(40000)),
    "the listener gone": lambda made: made["pod-2-1"].lists.pop("sockets"),
    "its element of a set": lambda made: block(made, "10.1.1.11"),
    "a link down": lambda made: made["node-2"].down("veth-pod-2-1"),
    "its MTU": lambda made: made["node-1"].change("ens3", mtu=1400),
    "a chain at a hook that it passes": lambda made: chain(
        made["node-2"], "f", (verdict(DROP),), hook=FORWARD
    ),
    "a stricter source check": lambda made: made["node-2"].sysctl("net.ipv4.conf.all.rp_filter", 1),
    "its next hop's address on another node": lambda made: (
        made["node-1"].net.node("node-9").nic("ens3", "192.168.0.2/24")
    ),
    "the pod gone": lambda made: made["node-2"].net.nodes["node-2"].remove(made["pod-2-1"]),
    "the node gone": lambda made: made["node-2"].net.nodes.pop("node-2"),
    "the pod's name": lambda made: setattr(made["pod-2-1"], "pod", Pod("other", "default", source="file")),
}


def reads_before_and_after(do: Callable[[dict[str, Ns]], object]) -> list[Read]:
    net, made = tracked_textbook()
    before = net.cluster()
    flow = resolve_flow(before, "pod-1-1", "pod-2-1", dport=80)
    trace, reads = recorded(before, flow)
    assert trace["disposition"] == "DELIVERED"
    do(made)
    after = net.cluster()
    changed = list(reads.changed(after))
    assert bool(changed) or trace_json(simulate_in_context(after, flow)) == trace
    return changed


@pytest.mark.parametrize("what", IRRELEVANT)
def test_a_change_that_nothing_asked_about_is_none(what: str) -> None:
    assert reads_before_and_after(IRRELEVANT[what]) == []


@pytest.mark.parametrize("what", RELEVANT)
def test_a_change_that_answers_a_question_otherwise_is_one(what: str) -> None:
    assert reads_before_and_after(RELEVANT[what])


def test_a_question_says_where_it_was_put_and_by_which_key() -> None:
    net, made = tracked_textbook()
    state = net.cluster()
    _, reads = recorded(state, resolve_flow(state, "pod-1-1", "pod-2-1", dport=80))
    answers = dict(reads.answers())
    pod = made["pod-1-1"]
    hop = Read("neighs", "node-1", pod.key, (pod.named("eth0").ifindex, pack_ip("10.1.1.1"), False))
    assert answers[hop] is ABSENT
    routes = [
        answer for read, answer in answers.items() if read.kind == "lookup_route" and read.netns == pod.key
    ]
    assert 0 in {answer.route.dst_len for answer in routes}, "the default route"
    assert ("node-1", "conntrack") in reads.sections()
    assert ("node-2", "nft_sets") not in reads.sections(), "no rule there looks at one"
    assert reads.nodes() == {"node-1", "node-2"}


def test_reads_hold_on_to_no_state() -> None:
    net, _ = tracked_textbook()
    state = net.cluster()
    flow = resolve_flow(state, "pod-1-1", "pod-2-1", dport=80)
    alive = [ref(node) for node in state.nodes.values()]
    _, reads = recorded(state, flow)
    del state
    gc.collect()
    assert [node() for node in alive] == [None, None]
    assert reads.hold(net.cluster())


def test_what_is_asked_after_the_recording_is_refused() -> None:
    net, _ = tracked_textbook()
    recording = Recording(net.cluster())
    cluster = recording.cluster
    assert "node-1" in cluster.nodes
    recording.reads()
    assert "node-1" in cluster.nodes
    with pytest.raises(Sealed):
        cluster.nodes.get("node-2")
