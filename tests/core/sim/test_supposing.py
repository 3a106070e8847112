"""What is only supposed leaves no trace: neither in a run's memory, nor in its journey, records and choices."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netviz.core.model.addr import pack_ip
from netviz.core.model.ids import LinkKey
from netviz.core.model.netfilter import NFPROTO_BRIDGE
from netviz.core.sim.conn import Conn
from netviz.core.sim.memory import Memory
from netviz.core.sim.packet import Packet, invert
from netviz.core.sim.route.decision import route_flow
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Origin
from netviz.core.sim.trace import Disposition, Flow
from netviz.core.sim.walk import simulate
from tests.core.sim.build import textbook
from tests.core.sim.nft import DROP, FORWARD, INPUT, chain, e, verdict
from tests.live.oracle.cases import load_cases
from tests.live.oracle.frozen import read_frozen
from tests.live.oracle.predict import flow_of

TCP_OPTION, MAXSEG, PRESENT = 1, 2, 1


def test_a_copys_tcp_option_is_not_the_followed_frames() -> None:
    """
    [pod-1-1] eth0--veth-pod-1-1 \\
    [pod-1-2] eth0--veth-pod-1-2 - cni0   floods: pod-1-3's MAC is in no entry
    [pod-1-3] eth0--veth-pod-1-3 /

    A rule sets an option in what leaves for pod-1-2; pod-1-3 drops SYNs that have that option, as the followed one has.
    """
    net, made = textbook(1, 3)
    made["pod-1-1"].neigh("eth0", "10.1.1.13", made["pod-1-3"].named("eth0").mac)
    to_other = (
        e("meta", dreg=1, key=7),
        e("cmp", sreg=1, op=0, data=b"veth-pod-1-2".ljust(16, b"\0")),
        e("immediate", dreg=1, data=(1400).to_bytes(2, "big")),
        e("exthdr", sreg=1, op=TCP_OPTION, type=MAXSEG, offset=2, len=2),
    )
    chain(made["node-1"], "forward", to_other, hook=FORWARD, family=NFPROTO_BRIDGE)
    has_option = (
        e("exthdr", dreg=1, op=TCP_OPTION, type=MAXSEG, offset=0, len=1, flags=PRESENT),
        e("cmp", sreg=1, op=0, data=b"\x01"),
        verdict(DROP),
    )
    chain(made["pod-1-3"], "input", has_option, hook=INPUT)
    trace = net.trace("pod-1-1", "pod-1-3", dport=80)
    assert "flood" in [s.action for h in trace.branches[0].forward.hops for s in h.steps]
    assert (trace.disposition, trace.certainty, len(trace.branches)) == (Disposition.DROPPED, "certain", 1)


def a_run() -> Run:
    net, made = textbook()
    packet = Packet(pack_ip("10.1.1.11"), pack_ip("10.1.2.11"), 6, sport=1, dport=80)
    return Run(net.cluster(), Flow(made["pod-1-1"].key, packet.src, packet.dst, 6, 1, 80))


def everything(run: Run) -> dict[str, Any]:
    """Write down all that a run holds, whatever that is, but what it reads, what is found out for all, and the driver."""
    return {
        name: [repr(one) for one in value]
        if isinstance(value, list)
        else repr(vars(value) if name == "rec" else value)
        for name, value in vars(run).items()
        if name not in ("cluster", "flow", "move", "_findings")
    }


def step(run: Run) -> None:
    key = run.flow.src_netns
    packet = Packet(run.flow.src, run.flow.dst, 6)
    run.record(run.netns(key), None, packet, Origin())


def go_on(run: Run) -> None:
    device = LinkKey(run.flow.src_netns, 2)
    flow = route_flow(Packet(run.flow.src, run.flow.dst, 6))
    run.journey = run.journey.but(
        in_ifindex=7,
        xmit_depth=run.journey.xmit_depth + 1,
        visited=run.journey.visited | {"here"},
        routed={**run.journey.routed, device: flow},
    )


def track(run: Run) -> None:
    packet = Packet(run.flow.src, run.flow.dst, 6)
    number = run.add_conn(Conn(packet.tuple(), invert(packet.tuple())))
    run.change_conn(number, mark=run.memory.conns[number].mark + 1)
    run.change_conn(1, confirmed=True, counted=None)
    tuples = {**run.memory.conn_tuples, (run.flow.src_netns, 0, packet.tuple()): (number, False)}
    run.memory = run.memory.but(conn_tuples=tuples)


def learn(run: Run) -> None:
    key = run.flow.src_netns
    memory = run.memory.with_fdb((key, 1, b"mac", 0), 3).with_neigh((key, 1, b"addr"), b"mac")
    memory = memory.with_vxlan_fdb((key, 1, b"mac"), b"remote").with_scratch("note", len(memory.rule_scratch))
    run.memory = memory.but(
        options_changed=True,
        ipvs={key: ()},
        endpoints={(LinkKey(key, 1), b"key"): (b"addr", 1)},
        pending_neighs=memory.pending_neighs | {(key, 1, b"addr")},
        deleted_conns=memory.deleted_conns | {(key, "gone")},
        changed_sets=memory.changed_sets | {(key, 1)},
        set_elems={(key, (2, "t", "s")): {b"key": None}},
        arp_requests={b"addr": ()},
    )


def choose(run: Run) -> None:
    run.choose(("a supposed choice", len(run.choices)), 2, None)


ACTS: tuple[Callable[[Run], None], ...] = (step, go_on, track, learn, choose)


@given(
    before=st.lists(st.sampled_from(ACTS)),
    acts=st.lists(st.sampled_from(ACTS), max_size=3),
    depth=st.integers(1, 3),
)
def test_after_supposing_everything_is_as_it_was(
    before: list[Callable[[Run], None]], acts: list[Callable[[Run], None]], depth: int
) -> None:
    run = a_run()
    for act in before:
        act(run)
    was = everything(run)

    def work(level: int = 1) -> str:
        for act in acts:
            act(run)
        if level < depth:
            run.suppose(lambda: work(level + 1))
        return "the answer"

    assert run.suppose(work) == "the answer"
    assert everything(run) == was


def test_each_part_of_a_runs_memory_is_tried() -> None:
    run = a_run()
    learn(run)
    track(run)
    untouched = [
        name for name in Memory.__struct_fields__ if getattr(run.memory, name) == getattr(Memory(), name)
    ]
    assert untouched == []


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Compare all of a run before and after each supposition; count them."""
    plain, seen = Run.suppose, list[int]()

    def suppose(run: Run, work: Callable[[], Any]) -> Any:
        was, made = everything(run), set(run._made)
        answer = plain(run, work)
        now = everything(run)
        added = run.choices[len(was["choices"]) :]
        assert now["choices"][: len(was["choices"])] == was["choices"]
        assert {**now, "choices": 0, "_made": 0} == {**was, "choices": 0, "_made": 0}
        assert set(run._made) - made == {choice.key for choice in added}
        seen.append(len(added))
        return answer

    monkeypatch.setattr(Run, "suppose", suppose)
    return seen


def test_suppositions_of_the_kept_cases_leave_nothing(watched: list[int]) -> None:
    for name in load_cases():
        frozen = read_frozen(name)
        state = frozen.observed().state
        simulate(state, flow_of(state, frozen.result.probe))
    assert len(watched) > 20


def test_a_choice_counts_only_where_the_answer_depends_on_it() -> None:
    run = a_run()
    assert run.suppose(lambda: run.choose("no matter", 2, None) >= 0)
    assert run.choices == []
    assert run.suppose(lambda: run.choose("matters", 2, (0.25, 0.75))) == 0
    assert [(choice.key, choice.count) for choice in run.choices] == [("matters", 2)]
    assert run.choose("matters", 2, None) == 0
    assert run.probability == 0.25
    again = Run(run.cluster, run.flow, [1])
    assert again.suppose(lambda: again.choose("no matter", 2, None) >= 0)
    assert again.suppose(lambda: again.choose("matters", 2, None)) == 1


def test_what_was_chosen_before_holds_in_a_supposition() -> None:
    run = Run(a_run().cluster, a_run().flow, [1])
    assert run.choose("known", 2, None) == 1
    assert run.suppose(lambda: run.choose("known", 2, None)) == 1
    assert len(run.choices) == 1
