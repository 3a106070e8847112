"""With which address pods' packets go to the internet: the node's, where the cluster masquerades.

Whether it does is a setting of the cluster and family; where it isn't set, what most pods' rules do is taken for it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping

from netviz.core.check.paths.contract import pod_name
from netviz.core.check.paths.judge import Judged
from netviz.core.check.paths.pairs import Key
from netviz.core.check.paths.world import World
from netviz.core.check.problem import Command, Problem, Where
from netviz.core.check.text import affects, counted
from netviz.core.model.ids import NetnsKey
from netviz.core.sim.trace import Flow, place_of
from netviz.core.state.node import ClusterState

NOT_MASQUERADED = "not-masqueraded"
SECTIONS = ("links", "addrs", "routes", "nft_chains", "xt_chains")


def proposed(world: World, known: Mapping[Key, Judged]) -> dict[int, bool]:
    """Say of each family (by its addresses' length) whether most pods' packets are rewritten on their way out."""
    votes: dict[int, Counter[bool]] = defaultdict(Counter)
    for members in world.members.values():
        kind = next(iter(members.values()))
        judged = known.get(("net", kind, kind, 0, 0))
        for found in judged.found if judged is not None else ():
            if found.rewritten is not None:
                votes[len(found.flow.dst)][found.rewritten] += len(members)
    return {family: counts[True] > counts[False] for family, counts in votes.items()}


def masqueraded(world: World, known: Mapping[Key, Judged], family: int) -> Flow | None:
    """Return a flow to the internet whose address is rewritten on its way out; None where there is none."""
    kinds = (next(iter(members.values())) for members in world.members.values())
    judged = (known.get(("net", kind, kind, 0, 0)) for kind in kinds)
    every = (one for each in judged if each is not None for one in each.found)
    return next((one.flow for one in every if one.rewritten and len(one.flow.dst) == family), None)


def masquerade_problems(
    cluster: ClusterState, world: World, known: Mapping[Key, Judged], setting: Mapping[int, bool]
) -> Iterator[Problem]:
    """List the nodes that send their pods' own addresses to the internet, where the cluster rewrites them."""
    wanted = {**proposed(world, known), **setting}
    found: dict[tuple[str, int], list[NetnsKey]] = defaultdict(list)
    flows: dict[tuple[str, int], Flow] = {}
    for members in world.members.values():
        kind = next(iter(members.values()))
        judged = known.get(("net", kind, kind, 0, 0))
        for one in judged.found if judged is not None else ():
            family = len(one.flow.dst)
            if one.rewritten is False and wanted.get(family):
                for key in members:
                    found[key.node, family].append(key)
                    if key == one.flow.src_netns:
                        flows[key.node, family] = one.flow
    for (node, family), pods in sorted(found.items()):
        yield _problem(cluster, world, node, family, pods, flows.get((node, family)))


def _problem(
    cluster: ClusterState, world: World, node: str, family: int, pods: list[NetnsKey], flow: Flow | None
) -> Problem:
    root = cluster.nodes[node].root
    assert root is not None
    place = place_of(root.netns)
    version = "IPv4" if family == 4 else "IPv6"
    tool = "iptables-save -t nat" if family == 4 else "ip6tables-save -t nat"
    return Problem(
        kind=NOT_MASQUERADED,
        cause=f"{node}/{version}",
        severity="error",
        harm="breaks the contract",
        headline=f"{node} sends its pods' packets to the internet with their own {version} addresses",
        consequence=f"Nobody outside can answer {counted(len(pods), 'pod')} of {node}; the cluster's other nodes rewrite the source.",
        both=node,
        where=Where(node, "", "", place.key),
        affects=affects(pod_name(world.pod(key).ns.netns.pod) for key in pods),
        check=(
            Command(node, "", f"{place.enter}{tool}"),
            Command(node, "", f"{place.enter}nft list ruleset"),
        ),
        flow=flow,
        rests_on=tuple((node, section) for section in SECTIONS),
    )
