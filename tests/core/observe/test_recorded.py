"""Probes recorded on a kernel (tests/live/observed_cases.py), judged without one: right predictions, and planted lies."""

from __future__ import annotations

import msgspec
import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.conntrack import CtEntry
from netviz.core.model.ids import NetnsKey
from netviz.core.observe import evidence as judging
from netviz.core.observe.align import RETRANSMISSION_NS
from netviz.core.observe.correlate import CERTAIN, Correlation, Freed
from netviz.core.observe.evidence import Evidence, Kernel, Source, judge
from netviz.core.observe.kept import Kept, load_kept
from netviz.core.observe.match import Match, Observation
from netviz.core.observe.sighting import Event, Tracked
from netviz.core.sim.trace import Disposition, Trace
from netviz.core.sim.walk import simulate
from netviz.core.state.node import ClusterState, NetnsState
from tests.live.observed_cases import CASES, DIRECTORY, read_recorded

# Steps that could be seen, by device, with what nftables said, and the status.
CROSSED = ["eth0 agree", "veth1 agree", "veth2 agree", "eth0 agree"]
BACK = ["eth0 agree", "veth2 agree", "veth1 agree", "eth0 agree"]
FROM_OUT = ["eth0 agree", "up0 agree", "up0 established agree", "veth1 agree", "eth0 agree"]
DROPPED = "eth0 rule drop agree"
EXPECTED = {
    "delivered": (CROSSED, BACK),
    "datagram": (CROSSED, BACK),
    "echo": (CROSSED, BACK),
    "no-listener": (CROSSED, BACK),
    "masqueraded": (
        [
            *("eth0 agree", "veth1 agree", "br0 new agree", "br0 agree"),
            *("up0 rule accept agree", "up0 agree", "eth0 agree"),
        ],
        FROM_OUT,
    ),
    "service": (
        [
            *("eth0 agree", "veth1 agree", "br0 new agree"),
            *("br0 rule accept agree", "br0 agree", "up0 agree", "eth0 agree"),
        ],
        FROM_OUT,
    ),
    "input-drop": ([*CROSSED, DROPPED], None),
    "forward-drop": (["eth0 agree", "veth1 agree", "br0 agree", "up0 rule drop agree"], None),
    # No device had the packet, so its address proves nothing; what nftables said of it does.
    "output-drop": (["eth0 rule drop agree"], None),
    "answer-drop": (CROSSED, [*BACK, DROPPED]),
    "jumps": ([*CROSSED, "eth0 rule accept agree"], ["eth0 policy accept agree", *BACK]),
    "policy-drop": ([*CROSSED, "eth0 policy drop agree"], None),
    "echo6": (CROSSED, BACK),
    # The kernel's free may be another packet's; what the sender was told isn't.
    "nobody": ([], []),
}


def judged(recorded: Kept, cluster: ClusterState | None = None) -> tuple[Trace, Observation]:
    cluster = cluster if cluster is not None else recorded.cluster()
    trace = simulate(cluster, recorded.flow)
    return trace, judge(cluster, trace, recorded.evidence)


def visible(observation: Observation, reply: bool = False) -> list[str] | None:
    path = observation.nearest.reply if reply else observation.nearest.forward
    if path is None:
        return None
    return [f"{_named_by(m)} {m.status}" for m in path.matches if m.visible and not m.by]


def _named_by(match: Match) -> str:
    dev, rule = match.step.dev, match.rule
    if match.step.kind == "conntrack":
        return f"{dev} {match.step.action}"
    return f"{dev} {rule.kind} {rule.verdict}" if rule is not None else dev


def without_events(evidence: Evidence) -> tuple[Kernel, ...]:
    return tuple(msgspec.structs.replace(one, events=(), drops=False) for one in evidence.kernels)


def test_every_case_is_recorded() -> None:
    assert sorted(CASES) == sorted([*EXPECTED, "multipath"])


def took_one_branch(trace: Trace, observation: Observation) -> None:
    """Of two next hops the kernel took one: only that branch has nothing against it, and is named."""
    assert len(trace.branches) == 2
    (taken,) = observation.taken
    assert taken == observation.nearest.number
    ends = [branch.forward.hops[-1].place.name for branch in trace.branches]
    assert len(set(ends)) == 2
    last = [m.sighting.place for m in observation.nearest.forward.matches if m.sighting is not None][-1]
    assert last == trace.branches[taken].forward.hops[-1].place.key


def test_the_branch_taken_is_named() -> None:
    took_one_branch(*judged(read_recorded("multipath")))


def test_branches_that_nothing_tells_apart() -> None:
    """Where nobody watched, either may have been taken, and that is said; p1 alone tells them apart by the answer's MAC."""
    recorded = read_recorded("multipath")
    p1 = str(_named(recorded.cluster(), "p1").key)
    for place, taken in (("", (0, 1)), (p1, judged(recorded)[1].taken)):
        evidence = msgspec.structs.replace(
            recorded.evidence,
            sightings=tuple(s for s in recorded.evidence.sightings if s.place == place),
            watched=(place,),
            kernels=without_events(recorded.evidence),
            rules=(),
        )
        _, observation = judged(msgspec.structs.replace(recorded, evidence=evidence))
        assert observation.taken == taken


@pytest.mark.parametrize("name", EXPECTED)
def test_agrees(name: str) -> None:
    """What a healthy prediction names is seen, in its direction, and nothing else."""
    _, observation = judged(read_recorded(name))
    assert (visible(observation), visible(observation, reply=True)) == EXPECTED[name]
    assert observation.taken == (0,)
    assert observation.nearest.contradictions == 0


@pytest.mark.parametrize("name", ["delivered", "datagram", "no-listener", "masqueraded"])
def test_every_crossing_has_its_event(name: str) -> None:
    """Packet addresses are told apart although every pod's device is eth0 and the answer is as long."""
    _, observation = judged(read_recorded(name))
    for path in (observation.nearest.forward, observation.nearest.reply):
        for match in path.matches if path is not None else ():
            assert not match.step.kind.startswith("link_") or match.event is not None, match


def _with(cluster: ClusterState, change: dict[NetnsKey, NetnsState]) -> ClusterState:
    (node,) = cluster.nodes.values()
    changed = msgspec.structs.replace(node, netns={**node.netns, **change})
    return msgspec.structs.replace(cluster, nodes={node.node: changed})


def _named(cluster: ClusterState, name: str) -> NetnsState:
    (node,) = cluster.nodes.values()
    return next(ns for ns in node.netns.values() if (ns.netns.name == name if name else ns.netns.root))


def test_a_rule_that_the_state_lacks() -> None:
    """Predicted to be delivered, dropped on the kernel: the drop is extra, and so speaks against the prediction."""
    recorded = read_recorded("input-drop")
    cluster = recorded.cluster()
    p2 = _named(cluster, "p2")
    lie = _with(cluster, {p2.key: msgspec.structs.replace(p2, nft_chains={}, nft_tables={})})
    trace, observation = judged(recorded, lie)
    assert trace.disposition is Disposition.DELIVERED
    assert observation.taken == ()
    extra, rule = observation.nearest.forward.extra
    assert rule.rule is not None
    assert (rule.rule.chain, rule.rule.verdict) == ("c", "drop")
    assert extra.event is not None
    assert (extra.event.reason, extra.after) == (
        "NETFILTER_DROP",
        observation.nearest.forward.matches[7].step.seq,
    )


def test_a_rule_that_the_kernel_lacks() -> None:
    """Predicted to be dropped by a rule, delivered on the kernel: the drop isn't seen, and the answer is extra."""
    recorded = read_recorded("delivered")
    cluster, other = recorded.cluster(), read_recorded("input-drop").cluster()
    p2, dropping = _named(cluster, "p2"), _named(other, "p2")
    lie = _with(
        cluster,
        {p2.key: msgspec.structs.replace(p2, nft_chains=dropping.nft_chains, nft_tables=dropping.nft_tables)},
    )
    lie = msgspec.structs.replace(lie, bodies={digest: other.bodies[digest] for digest in other.bodies})
    trace, observation = judged(recorded, lie)
    assert trace.disposition is Disposition.DROPPED
    assert observation.taken == ()
    last = observation.nearest.forward.matches[-1]
    assert (last.step.kind, last.status, last.visible) == ("netfilter", "not_seen", True)
    assert len(observation.nearest.forward.extra) == len(BACK)


def test_a_route_that_the_kernel_has_not() -> None:
    """The first step that differs is the device that the packet didn't take."""
    recorded = read_recorded("masqueraded")
    cluster = recorded.cluster()
    root = _named(cluster, "")
    up0 = next(link.ifindex for link in root.links.values() if link.ifname == "up0")
    routes = {k: route for k, route in root.routes.items() if up0 not in [n.oif for n in route.nexthops]}
    lie = _with(cluster, {root.key: msgspec.structs.replace(root, routes=routes)})
    trace, observation = judged(recorded, lie)
    assert trace.disposition is not Disposition.DELIVERED
    forward = observation.nearest.forward
    assert observation.taken == ()
    assert visible(observation)[:3] == ["eth0 agree", "veth1 agree", "br0 new agree"]  # type: ignore[index]
    assert [extra.sighting.dev for extra in forward.extra if extra.sighting is not None][:2] == [
        "up0",
        "eth0",
    ]


@pytest.mark.parametrize(
    "name", ["delivered", "datagram", "echo", "no-listener", "masqueraded", "service", "echo6"]
)
def test_every_step_of_what_arrives_is_shown(name: str) -> None:
    """By a source of its own, by the frame that follows, or by what the sender was told."""
    _, observation = judged(read_recorded(name))
    for path in (observation.nearest.forward, observation.nearest.reply):
        assert path is not None
        assert {match.status for match in path.matches} == {"agree"}
        assert path.matches[0].by == (
            "the sender's collector" if path is observation.nearest.forward else "the next frame"
        )


def test_a_frame_that_differs_shows_nothing_before_it() -> None:
    """Where the next frame has another TTL, forwarding isn't shown, and nothing but that frame speaks against it."""
    recorded = read_recorded("masqueraded")
    seen = [
        msgspec.structs.replace(one, frame=msgspec.structs.replace(one.frame, ttl=9))
        if one.dev == "up0" and one.out
        else one
        for one in recorded.evidence.sightings
    ]
    evidence = msgspec.structs.replace(recorded.evidence, sightings=tuple(seen))
    _, observation = judged(msgspec.structs.replace(recorded, evidence=evidence))
    by_kind = {match.step.kind: match for match in observation.nearest.forward.matches if match.step.node}
    assert (by_kind["forward"].status, by_kind["forward"].visible) == ("not_seen", False)
    assert observation.nearest.contradictions == 1


@pytest.mark.parametrize(("later_ns", "contradictions"), [(0, 1), (RETRANSMISSION_NS, 0)])
def test_what_a_retransmission_meets_speaks_against_nothing(
    monkeypatch: pytest.MonkeyPatch, later_ns: int, contradictions: int
) -> None:
    """A SYN that comes again, because no answer got back, finds the connection asked for, and is freed where it arrives."""
    recorded = read_recorded("answer-drop")
    arrived = [one for one in recorded.evidence.sightings if one.frame.kind == "forward"][-1]
    again = msgspec.structs.replace(arrived, at_ns=arrived.at_ns + later_ns)
    freed = Freed(Event(again.at_ns, "skb:kfree_skb", 1, reason="NOT_SPECIFIED"), again, CERTAIN)
    before = judging._joined

    def joined(seen: Evidence, lossy: set[str]) -> Correlation:
        found = before(seen, lossy)
        return msgspec.structs.replace(found, freed=(*found.freed, freed))

    monkeypatch.setattr(judging, "_joined", joined)
    more = msgspec.structs.replace(recorded.evidence, sightings=(*recorded.evidence.sightings, again))
    _, observation = judged(msgspec.structs.replace(recorded, evidence=more))
    assert [one.event for one in observation.nearest.forward.extra if one.event is not None] == (
        [freed.event] * contradictions
    )


def test_a_drop_that_the_sender_is_told_of() -> None:
    """Where no free is found, what the sender was told shows that nobody answered for the next hop."""
    recorded = read_recorded("nobody")
    for told, expected in (("EHOSTUNREACH", "agree"), ("", "not_seen")):
        kernels = [msgspec.structs.replace(one, events=()) for one in recorded.evidence.kernels]
        evidence = msgspec.structs.replace(recorded.evidence, kernels=tuple(kernels), told=told)
        _, observation = judged(msgspec.structs.replace(recorded, evidence=evidence))
        assert observation.nearest.forward.matches[-1].status == expected


def test_another_state_of_the_connection() -> None:
    """What the kernel says of the connection is held against the prediction."""
    recorded = read_recorded("masqueraded")
    rules = [msgspec.structs.replace(one, ct_state=one.ct_state and 2) for one in recorded.evidence.rules]
    evidence = msgspec.structs.replace(recorded.evidence, rules=tuple(rules))
    _, observation = judged(msgspec.structs.replace(recorded, evidence=evidence))
    (match,) = [m for m in observation.nearest.forward.matches if m.step.kind == "conntrack"]
    assert (match.status, match.why) == ("disagree", "the connection is established")


@pytest.mark.parametrize(
    ("name", "address", "action"), [("masqueraded", "192.0.2.1", "snat"), ("service", "192.0.2.2", "dnat")]
)
def test_the_entry_shows_the_translation(name: str, address: str, action: str) -> None:
    """What connection tracking told of the probe's entry is held against the prediction; a packet's own namespace alone counts."""
    recorded = read_recorded(name)
    flow, root = recorded.flow, _named(recorded.cluster(), "")
    is_source = action == "snat"
    told = CtEntry(flow.proto, flow.src, flow.dst, flow.sport or 0, flow.dport or 0, flow.dst, flow.src, 0, 0)
    for said, place, expected in (
        (address, str(root.key), ("agree", "")),
        ("192.0.2.9", str(root.key), ("disagree", "the connection's entry says 192.0.2.9")),
        ("192.0.2.9", "elsewhere", None),
    ):
        port = (flow.sport if is_source else 8080) or 0
        ends = (
            {"rdst": pack_ip(said), "rdport": port} if is_source else {"rsrc": pack_ip(said), "rsport": port}
        )
        tracked = (Tracked(place, msgspec.structs.replace(told, **ends)),)
        evidence = msgspec.structs.replace(recorded.evidence, tracked=tracked)
        _, observation = judged(msgspec.structs.replace(recorded, evidence=evidence))
        (match,) = [m for m in observation.nearest.forward.matches if m.step.action == action]
        assert (match.by == "conntrack event") == (expected is not None)
        if expected is not None:
            assert (match.status, match.why.partition(":")[0]) == expected


@pytest.mark.parametrize(
    "name", ["frame-for-another-mac", "vxlan-without-an-entry", "error-through-a-tunnel"]
)
def test_what_differed_once_agrees(name: str) -> None:
    """Observations of the lab's faults that differed when they were made, as the server kept them."""
    kept = load_kept((DIRECTORY / "lab" / f"{name}.nvz").read_bytes())
    trace, observation = kept.judged()
    assert trace.disposition is Disposition.DROPPED
    assert observation.nearest.contradictions == 0
    assert observation.nearest.forward.matches[-1].status == "agree"


def test_lost_events_prove_nothing() -> None:
    """With a loss, what wasn't seen is lost, and no event is certain."""
    recorded = read_recorded("input-drop")
    sightings = recorded.evidence.sightings[:2] + recorded.evidence.sightings[3:]
    lossy = (Source(recorded.evidence.sender, "packet sockets", 1),)
    evidence = msgspec.structs.replace(recorded.evidence, sightings=sightings, sources=lossy)
    _, observation = judged(msgspec.structs.replace(recorded, evidence=evidence))
    assert visible(observation) == [
        "eth0 agree",
        "veth1 agree",
        "veth2 lost",
        "eth0 agree",
        # what nftables said names its packet itself
        "eth0 rule drop agree",
    ]
    assert observation.taken == (0,)


def test_a_drop_without_what_nftables_says() -> None:
    """The free alone: certain by its address, or, where no device had the packet, one of several."""
    for name, expected in (
        ("input-drop", "agree"),
        ("output-drop", "ambiguous"),
    ):
        recorded = read_recorded(name)
        evidence = msgspec.structs.replace(recorded.evidence, rules=())
        _, observation = judged(msgspec.structs.replace(recorded, evidence=evidence))
        match = observation.nearest.forward.matches[-1]
        assert match.event is not None
        assert (match.status, match.event.reason) == (expected, "NETFILTER_DROP")


def test_another_rule_decided() -> None:
    """A chain that ends by another rule than predicted disagrees, and says by which."""
    recorded = read_recorded("jumps")
    cluster = recorded.cluster()
    p2 = _named(cluster, "p2")
    chains = {
        key: msgspec.structs.replace(chain, handles=tuple(handle + 100 for handle in chain.handles))
        for key, chain in p2.nft_chains.items()
    }
    _, observation = judged(
        recorded, _with(cluster, {p2.key: msgspec.structs.replace(p2, nft_chains=chains)})
    )
    (match,) = [m for m in observation.nearest.forward.matches if m.step.kind == "netfilter"]
    assert (match.status, match.why) == ("disagree", "accept by rule 6 of chain d")
    assert observation.taken == ()


def test_not_seen_where_nobody_watched() -> None:
    """A step in a namespace without a packet socket, and a drop without tracepoints, couldn't be seen."""
    recorded = read_recorded("input-drop")
    p2 = str(_named(recorded.cluster(), "p2").key)
    evidence = msgspec.structs.replace(
        recorded.evidence,
        sightings=tuple(s for s in recorded.evidence.sightings if s.place != p2),
        watched=tuple(place for place in recorded.evidence.watched if place != p2),
        kernels=without_events(recorded.evidence),
        rules=(),
    )
    _, observation = judged(msgspec.structs.replace(recorded, evidence=evidence))
    assert visible(observation) == ["eth0 agree", "veth1 agree", "veth2 agree"]
    assert observation.nearest.contradictions == 0


def _without(evidence: Evidence, position: int) -> Evidence:
    seen = evidence.sightings
    return msgspec.structs.replace(evidence, sightings=seen[:position] + seen[position + 1 :])


@pytest.mark.parametrize("position", range(8))
def test_a_frame_that_is_missing(position: int) -> None:
    """Any frame that isn't seen though somebody watched speaks against the prediction."""
    recorded = read_recorded("delivered")
    missing = msgspec.structs.replace(recorded, evidence=_without(recorded.evidence, position))
    _, observation = judged(missing)
    assert observation.taken == ()
    assert observation.nearest.contradictions == 1


@pytest.mark.parametrize("position", range(8))
@pytest.mark.parametrize("field", ["ttl", "sport", "src"])
def test_another_header(position: int, field: str) -> None:
    """A frame with another header than predicted disagrees at its own step."""
    recorded = read_recorded("delivered")
    seen = list(recorded.evidence.sightings)
    other = {"ttl": 1, "sport": 9, "src": "10.9.9.9"}[field]
    frame = msgspec.structs.replace(seen[position].frame, **{field: other})
    seen[position] = msgspec.structs.replace(seen[position], frame=frame)
    evidence = msgspec.structs.replace(recorded.evidence, sightings=tuple(seen))
    _, observation = judged(msgspec.structs.replace(recorded, evidence=evidence))
    said = (visible(observation) or []) + (visible(observation, reply=True) or [])
    assert [number for number, one in enumerate(said) if one.endswith("disagree")] == [position]
