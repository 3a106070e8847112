"""Lays meanings over a finished trace: each step gets a `meaning` where something is recognised.

It reads what the walk recorded and adds words; no disposition, decision, reason or packet is touched.
Where nothing is recognised for sure, nothing is said. What stays true through a hop (what a device is)
is said once in it.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from netviz.core.model.addr import format_ip
from netviz.core.sim.kubernetes import (
    calico,
    cilium,
    cni,
    flannel,
    kindnet,
    kube_proxy,
    kube_proxy_nft,
    kube_router,
)
from netviz.core.sim.kubernetes.seen import Seen
from netviz.core.sim.steps import (
    Bridge,
    Decap,
    Encap,
    HookVerdict,
    Nat,
    Neighbour,
    Opaque,
    Receive,
    RouteLookup,
    Transmit,
)
from netviz.core.sim.trace import Branch, Hop, Path, Step, Trace
from netviz.core.state.node import ClusterState

Recogniser = Callable[[Seen], str]

RULES: tuple[Recogniser, ...] = (
    kube_proxy.rules,
    kube_proxy.ipvs,
    kube_proxy_nft.rules,
    flannel.rules,
    calico.rules,
    kindnet.rules,
    kube_router.rules,
    cni.rules,
)
DEVICES: tuple[Recogniser, ...] = (
    kube_proxy.device,
    flannel.device,
    calico.device,
    cni.device,
    cilium.device,
)
# How the names begin of devices of which a recogniser may say something, unless something opaque is done there.
DEVICE_NAMES = tuple(
    name for program in (kube_proxy, flannel, calico, cni, cilium) for name in program.DEVICE_NAMES
)
ROUTES: tuple[Recogniser, ...] = (kindnet.route,)
NEIGHBOURS: tuple[Recogniser, ...] = (calico.neighbour,)
# Asked with an address, a protocol and a port.
ADDRESSES = (kube_proxy.service_at, kube_proxy_nft.service_at)


def add_meanings(cluster: ClusterState, trace: Trace) -> Trace:
    """Return the trace with what its steps mean in Kubernetes' terms."""
    branches = tuple(
        Branch(
            branch.probability,
            _path(cluster, branch.forward),
            _path(cluster, branch.reply) if branch.reply is not None else None,
        )
        for branch in trace.branches
    )
    return msgspec.structs.replace(trace, branches=branches)


def _path(cluster: ClusterState, path: Path) -> Path:
    return msgspec.structs.replace(path, hops=tuple(_hop(cluster, hop) for hop in path.hops))


def _hop(cluster: ClusterState, hop: Hop) -> Hop:
    node = cluster.nodes.get(hop.netns.node)
    ns = node.netns.get(hop.netns) if node is not None else None
    if ns is None:
        return hop
    said: set[str] = set()
    meanings = {
        at: sentence
        for at, step in enumerate(hop.steps)
        if _may_mean(step) and (sentence := meaning(Seen(cluster, ns, step), said))
    }
    if not meanings:
        return hop
    steps = list(hop.steps)
    for at, sentence in meanings.items():
        steps[at] = msgspec.structs.replace(steps[at], meaning=sentence)
    return Hop(hop.place, tuple(steps))


def _may_mean(step: Step) -> bool:
    """Tell whether a recogniser may say something of a step."""
    kind = type(step.what)
    return kind in ABOUT and (
        ABOUT[kind] is not _device or kind is Opaque or step.dev.startswith(DEVICE_NAMES)
    )


def meaning(seen: Seen, said: set[str]) -> str:
    """Say what a step means, as a sentence or ""; `said` keeps what its hop has said already of devices."""
    about = ABOUT.get(type(seen.step.what))
    sentence = about(seen) if about is not None else ""
    if about is not _device:
        return sentence
    fresh = sentence not in said
    said.add(sentence)
    return sentence if fresh else ""


def _rules(seen: Seen) -> str:
    if isinstance(seen.step.what, HookVerdict) and not seen.rules:
        return ""  # a policy decided
    phrases = [phrase for recognise in RULES if (phrase := recognise(seen))]
    return f"That is {', and '.join(phrases)}." if phrases else ""


def _nat(seen: Seen) -> str:
    return _translated(seen) if seen.step.action in ("dnat", "snat") else _rules(seen)


def _device(seen: Seen) -> str:
    return _about(seen.step.dev, seen, DEVICES)


def _route(seen: Seen) -> str:
    return _about("That", seen, ROUTES)


def _neighbour(seen: Seen) -> str:
    assert isinstance(seen.step.what, Neighbour)
    return _about(format_ip(seen.step.what.nexthop), seen, NEIGHBOURS)


def _translated(seen: Seen) -> str:
    """Say whose the address is that a translation put in: a service's (in its answer), a pod's, a node's."""
    packet = seen.step.packet
    source = seen.step.action == "snat"
    addr, port = (packet.src, packet.sport) if source else (packet.dst, packet.dport)
    asked = ADDRESSES if source and packet.ct_reply else ()
    known = (recognise(seen, addr, packet.proto, port) for recognise in asked)
    service = next((phrase for phrase in known if phrase), "")
    if service:
        return f"The answer comes from {service}."
    owner = seen.owner(addr)
    return f"{format_ip(addr)} is the address of {owner}." if owner else ""


def _about(what: str, seen: Seen, recognisers: tuple[Recogniser, ...]) -> str:
    phrase = next((phrase for recognise in recognisers if (phrase := recognise(seen))), "")
    return f"{what} is {phrase}." if phrase else ""


# What is said of each kind of step.
ABOUT: dict[type, Callable[[Seen], str]] = {
    HookVerdict: _rules,
    Nat: _nat,
    **dict.fromkeys((Transmit, Receive, Bridge, Encap, Decap, Opaque), _device),
    RouteLookup: _route,
    Neighbour: _neighbour,
}
