"""The check of policies: what NetworkPolicies and those for the whole cluster allow and deny, held against what becomes of packets, worked at in slices.

A flow of each two sorts of pods is traced. What no agent that is known refuses is no policy's doing, and is for the check of
pairs; what is decided in eBPF, or by a program that packets are queued for, is unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sized
from functools import partial
from itertools import islice
from typing import Literal, NamedTuple

from netviz.core.check.netpol.flows import PROTOCOLS, Try, ports_named, tries
from netviz.core.check.netpol.traced import TracingCheck
from netviz.core.check.problem import Command, NodeHealth, Problem, Where
from netviz.core.check.sliced import Found, doubt
from netviz.core.check.text import affects, joined, place
from netviz.core.intent.policies import Half, RuleName
from netviz.core.intent.subjects import every_policy, is_cluster_wide
from netviz.core.intent.words import called
from netviz.core.model.addr import format_ip
from netviz.core.model.kubernetes import ObjectKey
from netviz.core.plain import quoted
from netviz.core.sim.kubernetes.policy import denied_by_policy
from netviz.core.sim.reads import Reads, Recording
from netviz.core.sim.steps import HookVerdict
from netviz.core.sim.trace import Disposition, Flow, Path
from netviz.core.sim.walk import simulate
from netviz.core.sim.words.hook import stopped_text
from netviz.core.state.node import ClusterState, NodeState
from netviz.core.state.objects import cluster_source

NEEDS = ("network_policies", "cluster_policies", "kube_pods", "kube_namespaces", "kube_nodes")
RULES = ("nft_chains", "nft_sets", "xt_chains", "ipsets")
KINDS = ("policy-allowed-dropped", "policy-denied-delivered", "policy-not-enforced")
SPORT = 40000
MAX_MOVES = 2000
TRACE_MS = 10.0
MAX_TRIES = 2000
PAIRS_MS = 0.005
# An agent writes what the API says within some seconds.
GRACE_S = 15.0
DEMANDS = "The kernels let pass between pods what NetworkPolicies allow, and refuse what they deny."
UNLISTED = "policies for the whole cluster are taken to be none where there is no list of them for cluster {}"
ARRIVED = (Disposition.DELIVERED, Disposition.NO_LISTENER)


class Seen(NamedTuple):
    """What became of a flow: it arrived, an agent of policies refused it on a node, something else ended it, or unknown."""

    what: Literal["arrives", "refused", "ends", "unknown"]
    node: str = ""
    rule: str = ""
    chain: tuple[int, str, str] = (0, "", "")


class PoliciesCheck(TracingCheck[Flow, Seen]):
    """Holds what becomes of packets between pods against every policy."""

    name = "network policies"
    unit = "flows"
    demands = DEMANDS

    def judge(self, cluster: ClusterState, health: Mapping[str, NodeHealth], found: Found) -> Iterator[float]:
        """Judge a state; yields what each piece of work costs, in ms."""
        self._answers.begin()
        for name, state in sorted(cluster.clusters.items()):
            source, objects = cluster_source(name), state.objects
            if why := doubt(name, state.gaps, health.get(source), NEEDS):
                found.unknown[why] = None
                continue
            if is_unlisted(state):
                found.assumed[f"P{UNLISTED.format(name)[1:]}."] = None
            made = every_policy(objects)
            if not made:
                continue
            known = self.pods_of(name)
            pods = yield from known.follow(cluster, objects)
            every = tries(known.policies, pods, ports_named(made, pods))
            yield PAIRS_MS * len(pods)
            told: list[tuple[Try, Seen]] = []
            for one in islice(every, MAX_TRIES):
                flow = flow_of(one)
                seen = yield from self._answers.get(cluster, flow, partial(see, cluster, flow), TRACE_MS)
                found.judged += 1
                if seen.what == "unknown":
                    found.unknown[seen.rule] = None
                told.append((one, seen))
            if next(every, None) is not None:
                found.unknown[
                    f"only {MAX_TRIES} flows are tried: there are too many kinds of pods for all"
                ] = None
            found.problems += Teller(cluster, source).told(told)


def is_unlisted(state: NodeState) -> bool:
    """Tell whether nobody said what policies for the whole cluster there are, or that there is no such API."""
    status = state.status.get("cluster_policies")
    return status is None or status.reason.startswith("no list")


def see(cluster: ClusterState, flow: Flow) -> tuple[Seen, Reads]:
    """Find out by tracing what becomes of a flow; with what was read for that."""
    recording = Recording(cluster)
    paths = [branch.forward for branch in simulate(recording.cluster, flow, MAX_MOVES).branches]
    return seen_in(paths), recording.reads()


def seen_in(paths: Iterable[Path]) -> Seen:
    """Sum up what became of a flow in all its courses."""
    paths = list(paths)
    found = [_end(path) for path in paths]
    for what in ("unknown", "ends"):
        for one in found:
            if one.what == what:
                return one
    if len({one.what for one in found}) > 1:
        return Seen("unknown", rule=_undecided(paths))
    return found[0]


def _undecided(paths: Iterable[Path]) -> str:
    """Say why a flow arrives in one course and not in another: the first rule of which isn't known whether it matches."""
    for path in paths:
        for hop in path.hops:
            for step in hop.steps:
                what = step.what
                if (
                    isinstance(what, HookVerdict)
                    and what.action in ("assume match", "assume no match")
                    and what.hit is not None
                ):
                    return f"{hop.netns.node}: whether {what.expression} in a rule of {what.hit.within} matches isn't known"
    return "it depends on a choice whether a flow between pods is refused"


def _end(path: Path) -> Seen:
    last = path.hops[-1].steps[-1] if path.hops and path.hops[-1].steps else None
    if path.disposition in ARRIVED:
        return Seen("arrives")
    if last is None or path.disposition is Disposition.UNKNOWN:
        return Seen("unknown", rule=path.reason or "something that is not modelled decides")
    what = last.what
    if (
        denied_by_policy(last)
        and isinstance(what, HookVerdict)
        and what.chain is not None
        and what.hit is not None
    ):
        chain = what.chain.chain.family, what.chain.chain.table, what.hit.within
        return Seen("refused", last.node, stopped_text(what), chain)
    return Seen("ends", last.node)


class Teller:
    """Tells the problems of one state; `source` is the cluster that the objects are of."""

    def __init__(self, cluster: ClusterState, source: str) -> None:
        self._cluster, self._source = cluster, source

    def told(self, found: list[tuple[Try, Seen]]) -> Iterator[Problem]:
        """Tell what differs: one problem for each policy that nobody enforces, else for each node and sort of difference."""
        let: dict[tuple[ObjectKey, str], list[Try]] = {}
        refused: dict[tuple[ObjectKey | None, str], list[tuple[Try, Seen]]] = {}
        works: set[ObjectKey] = set()
        for one, seen in found:
            if seen.what == "arrives" and one.decision.allowed is False:
                half, node = _denying(one)
                for policy in half.policies[:1]:
                    let.setdefault((policy, node), []).append(one)
            elif seen.what == "refused" and one.decision.allowed is False:
                works.update(_refused_for(one, seen.node))
            elif seen.what == "refused":
                refused.setdefault((_allowing(one, seen.node), seen.node), []).append((one, seen))
        idle = {policy for policy, _ in let} - works
        for policy in sorted(idle):
            yield self._not_enforced(
                policy, [one for key, every in let.items() if key[0] == policy for one in every]
            )
        for (policy, node), every in sorted(let.items()):
            if policy not in idle:
                yield self._delivered(policy, node, every)
        for (by, node), wrong in sorted(refused.items(), key=str):
            yield self._dropped(by, node, wrong)

    def _not_enforced(self, policy: ObjectKey, every: list[Try]) -> Problem:
        nodes = sorted({_denying(one)[1] for one in every})
        name = called(policy)
        return self._problem(
            "policy-not-enforced",
            "/".join(policy),
            nodes,
            f"{name[0].upper()}{name[1:]} is not enforced on {joined(nodes, 2)}: what it denies is delivered",
            f"{_flow(every[0])} is denied, and arrives. Of the flows tried that it alone denies, no known agent refuses any.",
            every,
            (denied_text(_denying(every[0])[0]),),
        )

    def _delivered(self, policy: ObjectKey, node: str, every: list[Try]) -> Problem:
        one = every[0]
        return self._problem(
            "policy-denied-delivered",
            f"{'/'.join(policy)}:{node}",
            [node],
            f"{node} lets {_name(one, True)} reach {_name(one, False)} at {one.protocol} {one.port}, which {called(policy)} denies",
            f"{_flows(every, 'that it denies there arrives', 'that it denies there arrive')}: the agent on {node} lacks a"
            " rule, or another rule accepts the packets before.",
            every,
            (denied_text(_denying(one)[0]),),
        )

    def _dropped(self, policy: ObjectKey | None, node: str, wrong: list[tuple[Try, Seen]]) -> Problem:
        one, seen = wrong[0]
        by = f"{called(policy)} allows" if policy else "no policy denies"
        return self._problem(
            "policy-allowed-dropped",
            f"{'/'.join(policy) if policy else ''}:{node}:{'/'.join(_restricted(one, node))}",
            [node],
            f"{node} refuses {_name(one, True)} to {_name(one, False)} at {one.protocol} {one.port}, which {by}",
            f"{_flows(wrong, 'that is allowed fails', 'that are allowed fail')} there, by rules that a policy's agent wrote.",
            [each for each, _ in wrong],
            (f"The rule: {seen.rule}", *allowed_texts(one)),
            seen.chain,
        )

    def _problem(
        self,
        kind: str,
        cause: str,
        nodes: list[str],
        headline: str,
        consequence: str,
        every: list[Try],
        also: tuple[str, ...],
        chain: tuple[int, str, str] = (0, "", ""),
    ) -> Problem:
        one = every[0]
        roots = [self._cluster.nodes[name].root for name in nodes]
        places = [
            place(root.netns) if root is not None else Where(name)
            for name, root in zip(nodes, roots, strict=True)
        ]
        tool = "ip6tables-save" if len(one.target.party.addr) == 16 else "iptables-save"
        listed = f"{tool} -t {quoted(chain[1])}" if chain[1] else f"{tool} -t filter"
        half, _ = _denying(one)
        shown = half.policies or one.decision.ingress.policies or one.decision.egress.policies
        return Problem(
            kind=kind,
            cause=cause,
            severity="error",
            harm="breaks traffic" if kind == "policy-allowed-dropped" else "at risk",
            headline=headline,
            consequence=consequence,
            where=places[0],
            also_at=tuple(places[1:]),
            affects=affects(_name(each, False) for each in every),
            check=(
                Command(nodes[0], "", listed),
                *(Command(nodes[0], "", f"kubectl describe {_object(policy)}") for policy in shown[:1]),
            ),
            also=also,
            flow=flow_of(one),
            rests_on=(
                *((name, section) for name in nodes for section in RULES),
                *((self._source, section) for section in NEEDS),
            ),
            grace_s=GRACE_S,
        )


def _object(policy: ObjectKey) -> str:
    if is_cluster_wide(policy):
        return f"{policy[0].lower()} {quoted(policy[1])}"
    return f"networkpolicy -n {quoted(policy[0])} {quoted(policy[1])}"


def rule_text(rule: RuleName) -> str:
    """Name a rule of a policy, counted from 1."""
    name = f" ({rule.name})" if rule.name else ""
    return f"{rule.direction} rule {rule.number + 1}{name} of {called(rule.policy)}"


def denied_text(half: Half) -> str:
    """Say what of the policies denies a flow."""
    if half.rule is not None:
        return f"Denied by {rule_text(half.rule)}."
    return f"No rule allows it of {joined(map(called, half.policies))}."


def allowed_texts(one: Try) -> tuple[str, ...]:
    """Say which rules of policies allow a flow, on each side."""
    rules = [half.rule for half in (one.decision.egress, one.decision.ingress) if half.rule is not None]
    return tuple(f"Allowed by {rule_text(rule)}." for rule in rules)


def _denying(one: Try) -> tuple[Half, str]:
    """Which side's policies deny a flow, and that side's node."""
    if one.decision.ingress.allowed is False:
        return one.decision.ingress, one.target.netns.node
    return one.decision.egress, one.source.netns.node


def _refused_for(one: Try, node: str) -> tuple[ObjectKey, ...]:
    """The policies that an agent's refusal on a node is for; none where both sides' may be."""
    sides = (one.decision.egress, one.source), (one.decision.ingress, one.target)
    here = [half.policies for half, at in sides if half.allowed is False and at.netns.node == node]
    return here[0] if len(here) == 1 else ()


def _restricted(one: Try, node: str) -> ObjectKey:
    """The pod of a flow that a node's agent looks after."""
    return one.target.pod.key if one.target.netns.node == node else one.source.pod.key


def _allowing(one: Try, node: str) -> ObjectKey | None:
    """The policy whose rule allows a flow at the side of a node; None where no policy restricts it."""
    halves = [one.decision.ingress] if one.target.netns.node == node else []
    halves += [one.decision.egress] if one.source.netns.node == node else []
    return next((half.rule.policy for half in halves if half.rule is not None), None)


def _name(one: Try, sends: bool) -> str:
    return "/".join((one.source if sends else one.target).pod.key)


def flow_of(one: Try) -> Flow:
    """The flow that is traced to try it."""
    source, target = one.source.party.addr, one.target.party.addr
    return Flow(one.source.netns, source, target, PROTOCOLS[one.protocol], SPORT, one.port)


def _flows(found: Sized, one: str, several: str) -> str:
    """Say of how many kinds of flow something is so, with the verb that fits."""
    return f"A kind of flow {one}" if len(found) == 1 else f"{len(found)} kinds of flows {several}"


def _flow(one: Try) -> str:
    ends = f"{_name(one, True)} to {_name(one, False)} ({format_ip(one.target.party.addr)})"
    return f"{ends} at {one.protocol} {one.port}"
