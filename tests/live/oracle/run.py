"""Run one network: build, collect, predict, send, compare, and sum up."""

from __future__ import annotations

from collections import Counter

import msgspec

from lab.randomnet.generate import generate
from lab.randomnet.model import Item, Network
from netviz.core.sim.endpoints import EndpointError
from netviz.core.sim.trace import Trace
from netviz.core.sim.words.evidence import evidence_of
from netviz.core.sim.words.step import why
from netviz.core.state.node import ClusterState
from tests.live.oracle.build import built
from tests.live.oracle.collect import collect, collect_now
from tests.live.oracle.compare import (
    DISTURBED,
    ONE_OF,
    RIGHT,
    UNKNOWN,
    UNSENT,
    WRONG,
    Comparison,
    compare,
)
from tests.live.oracle.path import Places
from tests.live.oracle.predict import predict
from tests.live.oracle.reasons import judge, waits_for_neighbour
from tests.live.oracle.send import Result, Session


class Failure(msgspec.Struct):
    """A wrong prediction: which probe of which seed, how it differed, what was predicted and what happened."""

    seed: int
    number: int
    why: str
    predicted: str
    happened: list[str]
    packet: str


class Summary(msgspec.Struct):
    """What one network showed, or many: counts, and every wrong prediction.

    `present` counts a feature's networks, `decided` the rightly predicted packets that it decided, `undecided`
    those of UNKNOWN that it had a part in.
    """

    packets: int = 0
    networks: int = 0
    verdicts: dict[str, int] = {}
    unknown: dict[str, int] = {}
    present: dict[str, int] = {}
    decided: dict[str, int] = {}
    undecided: dict[str, int] = {}
    ends: dict[str, int] = {}
    reasons: dict[str, int] = {}
    refused: list[str] = []
    failures: list[Failure] = []

    def add(self, other: Summary) -> None:
        """Take in another summary."""
        self.packets += other.packets
        self.networks += other.networks
        for name in ("verdicts", "unknown", "present", "decided", "undecided", "ends", "reasons"):
            mine: dict[str, int] = getattr(self, name)
            setattr(self, name, dict(Counter(mine) + Counter(getattr(other, name))))
        self.refused += other.refused
        self.failures += other.failures


class Observed(msgspec.Struct):
    """All that probes are judged by: the state before them, what became of each, and what the kernel refused.

    `after` is the state afterwards, read where a packet is predicted to wait for a neighbour in vain.
    """

    state: ClusterState
    results: list[Result]
    places: Places
    refused: list[str] = []
    after: ClusterState | None = None


def observe(network: Network, only: int | None = None) -> Observed:
    """Build a network and send every probe, or that with the number `only` alone. Raises: OSError."""
    with built(network) as up:
        session = Session(up)
        try:
            session.prepare()
            state = collect(up)
            observed = Observed(state, session.send(only), Places.of_built(up), up.refused)
            if any(waits_for_neighbour(_compared(observed, result)) for result in observed.results):
                observed.after = collect_now(up)
        finally:
            session.close()
    return observed


def _compared(observed: Observed, result: Result) -> Comparison:
    try:
        return compare(predict(observed.state, result.probe), result, observed.places)
    except EndpointError as error:
        verdict = UNKNOWN if result.sightings else UNSENT  # no source address: nothing to send
        return Comparison(result, None, verdict, str(error), "no flow")


def judged(observed: Observed) -> list[Comparison]:
    """Predict each probe and lay it beside what became of it."""
    comparisons = [_compared(observed, result) for result in observed.results]
    for comparison in comparisons:
        judge(comparison, observed.after)
    return comparisons


def run_network(network: Network, only: int | None = None) -> tuple[list[Comparison], list[str]]:
    """Compare every probe of a network, or that with the number `only`, which is then sent alone.

    Also returns what the kernel refused to configure. Raises: OSError.
    """
    observed = observe(network, only)
    return judged(observed), observed.refused


def predicted_text(trace: Trace | None) -> str:
    """Say in a line what was predicted."""
    if trace is None:
        return "no flow"
    reply = trace.branches[0].reply
    back = f"; answer {reply.disposition.value} {reply.reason}" if reply is not None else ""
    return f"{trace.disposition.value} {trace.reason} ({trace.certainty}){back}"


def happened_text(comparison: Comparison) -> list[str]:
    """Say what the kernel did: where the packet and its answer were seen, and what the sender was told."""
    result = comparison.result
    seen = [
        f"{s.frame.kind} {s.place}:{s.dev}:{'out' if s.out else 'in'} "
        f"{s.frame.src}:{s.frame.sport} > {s.frame.dst}:{s.frame.dport} ttl {s.frame.ttl} len {s.frame.length}"
        for s in result.sightings
    ]
    seen = seen[:30]
    return [*seen, f"told: {result.told or 'nothing'}", f"listener: {', '.join(result.listeners) or 'none'}"]


def _deciding(trace: Trace) -> dict[str, str]:
    """Collect what a trace says, by namespace; "" has all of it."""
    parts: dict[str, list[str]] = {"": []}
    for branch in trace.branches:
        for path in (branch.forward, branch.reply):
            for hop in path.hops if path is not None else ():
                place = hop.place.pod.rpartition("/")[2] or hop.netns.node
                said = [f"{step.dev} {why(step)} {evidence_of(step)}" for step in hop.steps]
                parts[""] += said
                parts.setdefault(place, []).extend(said)
    return {place: "\n".join(said) for place, said in parts.items()}


def _decided(item: Item, said: dict[str, str]) -> bool:
    """Tell whether an item decided something: one of its tokens is in what the trace says."""
    return any(
        token[1:] in said.get(item.at, "") if token.startswith("@") else token in said[""]
        for token in item.tokens
    )


def summarise(network: Network, comparisons: list[Comparison], refused: list[str]) -> Summary:
    """Count verdicts, causes of UNKNOWN, and which features decided something."""
    refused = [*refused, *(f"sending: {c.why}" for c in comparisons if c.verdict == UNSENT)]
    comparisons = [comparison for comparison in comparisons if comparison.verdict != UNSENT]
    summary = Summary(len(comparisons), 1, refused=refused)
    verdicts, unknown, ends = Counter[str](), Counter[str](), Counter[str]()
    decided, undecided = Counter[str](), Counter[str]()
    for comparison in comparisons:
        verdicts[comparison.verdict] += 1
        if comparison.verdict == UNKNOWN:
            unknown[comparison.reason] += 1
        if comparison.trace is not None:
            said = _deciding(comparison.trace)
            features = {item.feature for item in network.items if _decided(item, said)}
            by_verdict = {RIGHT: decided, ONE_OF: decided, UNKNOWN: undecided}
            by_verdict.get(comparison.verdict, Counter[str]()).update(features)
            ends[f"{comparison.trace.disposition.value} {comparison.trace.reason}".strip()] += 1
        if comparison.verdict == WRONG:
            predicted = predicted_text(comparison.trace)
            summary.failures.append(
                Failure(
                    network.seed,
                    comparison.result.number,
                    comparison.why,
                    predicted,
                    happened_text(comparison),
                    str(comparison.result.probe),
                )
            )
    summary.verdicts, summary.unknown = dict(verdicts), dict(unknown)
    summary.reasons = dict(Counter(c.drop_reason for c in comparisons if c.drop_reason))
    summary.decided, summary.undecided, summary.ends = dict(decided), dict(undecided), dict(ends)
    summary.present = dict.fromkeys({item.feature for item in network.items}, 1)
    return summary


def confirm(network: Network, comparison: Comparison) -> Comparison:
    """Send a probe that was predicted wrongly again, alone in the same network with the same known flows.

    What the other probes leave behind (neighbours that learn from each other, above all) is no part of the state
    that the prediction was made from. A neighbour that is predicted not to answer and asks for the sender, because of
    another probe, is known from then on: before the kernel has given it up, or, on a busy machine, afterwards.
    """
    (alone,), _ = run_network(network, comparison.result.number)
    if alone.verdict == WRONG:
        return comparison
    comparison.verdict, comparison.drop_reason = DISTURBED, alone.drop_reason
    return comparison


def run_seed(seed: int, packets: int) -> Summary:
    """Run the network of a seed."""
    network = generate(seed, packets)
    comparisons, refused = run_network(network)
    comparisons = [confirm(network, c) if c.verdict == WRONG else c for c in comparisons]
    return summarise(network, comparisons, refused)


__all__ = ["ONE_OF", "RIGHT", "run_network", "run_seed"]
