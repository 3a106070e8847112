"""A state rewound from the journal: it says of itself what it lacks, and a trace on it says what it rests on.

pod-1-1 10.1.1.11 - cni0 (node-1) ens3 192.168.0.1 ---- 192.168.0.2 ens3 (node-2) cni0 - pod-2-1 10.1.2.11
"""

from __future__ import annotations

from datetime import UTC, datetime

import msgspec
import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.conntrack import CtEntry
from netviz.core.model.socket import TCP_ESTABLISHED, Socket
from netviz.core.sim.endpoints import resolve_flow
from netviz.core.sim.steps import Assumption
from netviz.core.sim.trace import CERTAIN, Disposition, Trace
from netviz.core.sim.walk import simulate
from netviz.core.state.delta import NodeDelta, apply, diff
from netviz.core.state.node import SECTIONS, ClusterState, NodeState, SectionStatus
from netviz.ingest.history import state_at
from netviz.ingest.journal import JournalChange as Entry
from netviz.ingest.journal_record import pack
from netviz.ingest.models import JournalEntry
from tests.core.sim.build import textbook
from tests.core.sim.nft import ACCEPT, FORWARD, chain, ct_state, verdict
from tests.web.test_journal import entry_of

pytestmark = pytest.mark.django_db

WHOLE = dict.fromkeys(SECTIONS, SectionStatus(1.0))


def live() -> ClusterState:
    """The textbook cluster, whose first node tracks connections; pod-2-1 listens on 80."""
    net, parts = textbook()
    chain(parts["node-1"], "forward", (*ct_state(2), verdict(ACCEPT)), hook=FORWARD)
    a, b = pack_ip("10.1.1.11"), pack_ip("10.1.2.11")
    parts["node-1"].conntrack(CtEntry(6, a, b, 50000, 80, b, a, 80, 50000))
    cluster = net.cluster()
    nodes = {name: msgspec.structs.replace(state, status=WHOLE) for name, state in cluster.nodes.items()}
    return msgspec.structs.replace(cluster, nodes=nodes)


def keep(seq: int, what: NodeState | NodeDelta, before: NodeState | None = None) -> None:
    """Write one change of a node into the journal."""
    node = what.node if isinstance(what, NodeState) else (before.node if before is not None else "")
    entry = entry_of(Entry(node, 1, seq, 1000.0 + seq, what, 0, print, before=before))
    if entry is not None:
        entry.save()


def rewound(cluster: ClusterState) -> ClusterState:
    now = datetime.now(UTC)
    nodes = {name: state_at(name, now) for name in cluster.nodes}
    return msgspec.structs.replace(cluster, nodes=nodes)


def trace(cluster: ClusterState, sport: int | None = None) -> Trace:
    return simulate(cluster, resolve_flow(cluster, "pod-1-1", "pod-2-1", dport=80, sport=sport))


def test_a_past_trace_is_of_a_new_flow_and_says_so_once() -> None:
    cluster = live()
    for state in cluster.nodes.values():
        keep(1, state)
    past = rewound(cluster)
    now, then = trace(cluster), trace(past)
    assert (now.disposition, now.certainty, now.assumed) == (Disposition.DELIVERED, CERTAIN, ())
    assert (then.disposition, then.certainty) == (Disposition.DELIVERED, CERTAIN)
    assert then.assumed == (Assumption("node-1"),)
    assert [state.complete for state in past.nodes.values()] == [False, False]
    assert [state.complete for state in cluster.nodes.values()] == [True, True]


def test_a_past_trace_of_a_flow_that_may_have_stood_is_unknown() -> None:
    cluster = live()
    for state in cluster.nodes.values():
        keep(1, state)
    found = trace(rewound(cluster), sport=50000)
    assert (found.disposition, found.reason) == (Disposition.UNKNOWN, "connections not read")


def test_a_journal_that_kept_no_listeners_does_not_say_that_nothing_listens() -> None:
    cluster = live()
    for name, state in cluster.nodes.items():
        delta = diff(NodeState(name), state)
        silent = tuple(msgspec.structs.replace(ns, sockets=None, conntrack=None) for ns in delta.netns)
        JournalEntry.objects.create(
            node=name, epoch=1, seq=1, kind="snapshot", received_at=datetime.now(UTC), summary="", size=1,
            body=pack(msgspec.structs.replace(delta, netns=silent)),
        )  # fmt: skip
    assert trace(rewound(cluster)).disposition is Disposition.UNKNOWN


def test_the_journal_follows_listeners_and_nothing_else_of_sockets() -> None:
    cluster = live()
    key = next(iter(cluster.nodes["node-1"].netns))
    state = apply(NodeState("node-1"), diff(NodeState("node-1"), cluster.nodes["node-1"]))
    keep(1, state)
    addr = pack_ip("10.1.1.1")
    listener = Socket(6, bytes(4), 443, cookie=1)
    peer = Socket(6, addr, 443, addr, 5000, state=TCP_ESTABLISHED, cookie=2)
    resolver = Socket(17, bytes(4), 53, state=7, cookie=3)
    connected = msgspec.structs.replace(resolver, dst=addr, dport=99, state=TCP_ESTABLISHED)

    def step(seq: int, *sockets: Socket) -> None:
        nonlocal state
        ns = state.netns[key]
        new = msgspec.structs.replace(
            state,
            netns={**state.netns, key: msgspec.structs.replace(ns, sockets={s.cookie: s for s in sockets})},
        )
        keep(seq, diff(state, new), state)
        state = new

    def kept() -> set[int]:
        return set(state_at("node-1", datetime.now(UTC)).netns[key].sockets)

    step(2, listener, resolver)
    assert kept() == {1, 3}
    rows = JournalEntry.objects.count()
    step(3, listener, resolver, peer)
    step(4, listener, resolver)
    assert JournalEntry.objects.count() == rows  # a connection that comes and goes is no history
    step(5, listener, connected)
    assert kept() == {1}
    step(6)
    assert kept() == set()


def test_a_section_that_fails_without_another_change_is_kept() -> None:
    cluster = live()
    state = cluster.nodes["node-1"]
    keep(1, state)
    failed = NodeDelta(status={"routes": SectionStatus(2.0, whole=False, reason="no permission")})
    keep(2, failed, state)
    assert not state_at("node-1", datetime.now(UTC)).status["routes"].whole
