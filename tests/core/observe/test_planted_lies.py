"""States altered so that the prediction is wrong: where the kernels differ is found, and at the first step that differs.

Every record of a recorded state is taken away, one at a time, and altered where that says something: a route's next hop and
device, a rule's verdict, the port of a bridge's table, a neighbour's MAC, an address. A lie shows where the prediction's
devices, headers, verdicts of rules, or end differ from the truth's. Then the first difference that is found must be there;
where nothing of it differs, none may be found.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import msgspec
import pytest

from netviz.core.model.ids import NetnsKey
from netviz.core.model.netfilter import Body, ChainBody, body_digest
from netviz.core.observe.crossing import crossings, predicted_headers
from netviz.core.observe.differs import Difference, first_difference
from netviz.core.observe.evidence import judge, place_name
from netviz.core.observe.kept import Kept
from netviz.core.sim.endpoints import EndpointError
from netviz.core.sim.steps import HookVerdict
from netviz.core.sim.trace import Branch, Disposition, Path
from netviz.core.sim.walk import simulate
from netviz.core.state.node import ClusterState, NetnsState, NodeState
from tests.live.observed_cases import DIRECTORY, read_recorded

# Of a flow with several branches, or of a probe that no device had, there is no first step to compare.
NAMES = sorted(path.stem for path in DIRECTORY.glob("*.case") if path.stem not in ("multipath", "nobody"))
SECTIONS = ("routes", "addrs", "neighs", "fdb", "nft_chains", "sockets", "rules")
LEAST = 3  # lies that show, of each case
OTHER_MAC = b"\x02\0\0\0\0\x99"


class Lie(NamedTuple):
    """An altered state, and in words what was altered."""

    name: str
    cluster: ClusterState


class Shown(NamedTuple):
    """What can be seen of a step, by its number."""

    seq: int
    what: object


def lies(cluster: ClusterState) -> Iterator[Lie]:
    """Take each record away, one at a time, and alter each that can be altered."""
    for node in cluster.nodes.values():
        for key, ns in node.netns.items():
            for section in SECTIONS:
                records = getattr(ns, section)
                for one, record in records.items():
                    left = {name: value for name, value in records.items() if name != one}
                    what = f"{ns.netns.name} {section} {one}"
                    yield Lie(f"{what} gone", _with(cluster, node, key, ns, **{section: left}))
                    for how, other in _altered(ns, section, record):
                        yield Lie(
                            f"{what} {how}",
                            _with(cluster, node, key, ns, **{section: {**records, one: other}}),
                        )
            yield from _other_verdicts(cluster, node, key, ns)


def _altered(ns: NetnsState, section: str, record: object) -> Iterator[tuple[str, object]]:
    devices = [link.ifindex for link in ns.links.values() if link.ifname != "lo"]
    match section:
        case "routes":
            for hop in record.nexthops[:1]:  # type: ignore[attr-defined]
                for oif in devices:
                    if oif != hop.oif:
                        other = msgspec.structs.replace(hop, oif=oif)
                        yield f"by {oif}", msgspec.structs.replace(record, nexthops=(other,))  # type: ignore[type-var]
        case "fdb" | "neighs" if hasattr(record, "lladdr"):
            yield "other MAC", msgspec.structs.replace(record, lladdr=OTHER_MAC)  # type: ignore[type-var]


def _other_verdicts(cluster: ClusterState, node: NodeState, key: NetnsKey, ns: NetnsState) -> Iterator[Lie]:
    """Change each base chain's policy, and drop the rules of each chain but keep it."""
    for name, chain in ns.nft_chains.items():
        if chain.hook is not None:
            other = msgspec.structs.replace(chain, policy="accept" if chain.policy == "drop" else "drop")
            changed = {**ns.nft_chains, name: other}
            yield Lie(f"{ns.netns.name} policy of {name}", _with(cluster, node, key, ns, nft_chains=changed))
        body = cluster.bodies.get(chain.body)
        if isinstance(body, ChainBody) and body.rules:
            empty: Body = ChainBody(())
            digest = body_digest(empty)
            changed = {**ns.nft_chains, name: msgspec.structs.replace(chain, body=digest, handles=())}
            lie = _with(cluster, node, key, ns, nft_chains=changed)
            bodies = {one: cluster.bodies[one] for one in cluster.bodies} | {digest: empty}
            yield Lie(f"{ns.netns.name} rules of {name}", msgspec.structs.replace(lie, bodies=bodies))


def _with(
    cluster: ClusterState, node: NodeState, key: NetnsKey, ns: NetnsState, **sections: object
) -> ClusterState:
    changed = msgspec.structs.replace(ns, **sections)
    lie = msgspec.structs.replace(node, netns={**node.netns, key: changed})
    return msgspec.structs.replace(cluster, nodes={**cluster.nodes, node.node: lie})


def shown(cluster: ClusterState, branch: Branch) -> list[list[Shown]]:
    """List what can be seen of a branch, forward and back."""
    bridges = {
        (place_name(key), link.ifname)
        for node in cluster.nodes.values()
        for key, ns in node.netns.items()
        for link in ns.links.values()
        if link.kind == "bridge"
    }
    return [
        list(_shown(bridges, path)) if path is not None else [] for path in (branch.forward, branch.reply)
    ]


def _shown(bridges: set[tuple[str, str]], path: Path) -> Iterator[Shown]:
    crossed = {one.step.seq: one for one in crossings(path, place_name)}
    for hop in path.hops:
        for step in hop.steps:
            one = crossed.get(step.seq)
            if one is not None and step.dev != "lo":
                where = one.crossing
                if not (where.out and (where.place, where.dev) in bridges):
                    packet = one.packet
                    yield Shown(step.seq, (str(where), predicted_headers(packet), packet.smac, packet.dmac))
            if isinstance(step.what, HookVerdict):
                handle = step.what.hit.handle if step.what.hit is not None else 0
                yield Shown(step.seq, (str(hop.netns), step.what.hook, step.action, handle))
    if path.disposition is Disposition.DROPPED:
        yield Shown(path.hops[-1].steps[-1].seq, path.reason)


class Differs(NamedTuple):
    """Where a lie's prediction leaves the truth: forward or back, between which steps of its own."""

    forward: bool
    from_seq: int
    to_seq: int


def leaves(truth: list[list[Shown]], lie: list[list[Shown]]) -> Differs | None:
    """Find the first that can be seen and is otherwise; None where nothing is."""
    for forward, one, other in ((True, truth[0], lie[0]), (False, truth[1], lie[1])):
        same = 0
        while same < min(len(one), len(other)) and one[same].what == other[same].what:
            same += 1
        if same < max(len(one), len(other)):
            before = other[same - 1].seq if same else 0
            return Differs(forward, before, other[same].seq if same < len(other) else 1 << 30)
    return None


def is_there(found: Difference | None, expected: Differs) -> bool:
    """Tell whether the first difference that was found is where the prediction leaves the truth.

    Where the lie's packet ends early and the true one is seen to go on, that is seen after the lie's last step.
    """
    if found is None:
        return False
    if found.match is not None:
        at = found.match.step.seq
        return found.forward == expected.forward and expected.from_seq < at <= expected.to_seq
    after = found.after.seq if found.after is not None else 0
    return found.forward == expected.forward and expected.from_seq <= after <= expected.to_seq


def judged(
    kept: Kept, lie: Lie, truth: list[list[Shown]]
) -> Iterator[tuple[Differs | None, Difference | None]]:
    """Yield for each branch of a lie where it leaves the truth, and the first difference that was found."""
    try:
        trace = simulate(lie.cluster, kept.flow)
    except EndpointError:
        return
    for branch in trace.branches:
        if Disposition.UNKNOWN in (branch.forward.disposition, branch.reply and branch.reply.disposition):
            continue
        alone = msgspec.structs.replace(trace, branches=(branch,))
        found = judge(lie.cluster, alone, kept.evidence)
        yield leaves(truth, shown(lie.cluster, branch)), first_difference(found.nearest)


@pytest.mark.parametrize("name", NAMES)
def test_each_lie_is_found_where_it_is(name: str) -> None:
    """Each that shows at the first step that differs, and where nothing shows, nothing is found."""
    kept = read_recorded(name)
    cluster = kept.cluster()
    truth = shown(cluster, simulate(cluster, kept.flow).branches[0])
    found = 0
    wrong = []
    for lie in lies(cluster):
        for expected, first in judged(kept, lie, truth):
            found += expected is not None
            if first is not None if expected is None else not is_there(first, expected):
                wrong.append((lie.name, expected, first))
    assert wrong == []
    assert found >= LEAST
