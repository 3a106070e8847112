"""Named faults: what `break` applies and `mend` undoes, exactly.

Each is one small record with the function that makes it; a module holds those of one sort. What isn't
told of a fault's target is chosen.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from typing import Any

from lab.changes import Changes
from lab.cluster import Cluster, LabError
from lab.faults import addresses, links, neighbours, overlay, policies, routes, rules, services, sockets
from lab.faults.lessons import LESSONS
from lab.faults.model import FAULTS, Fault, Pair, Target, affected, choose_target, device, effects
from lab.spec import FaultState, NodeState, Pod

__all__ = [
    "FAULTS",
    "Fault",
    "Pair",
    "affected_by",
    "apply_fault",
    "describe",
    "listed",
    "mend",
    "offered",
    "possible",
]
_MODULES = (links, addresses, routes, neighbours, overlay, rules, services, policies, sockets)


def apply_fault(
    cluster: Cluster,
    name: str,
    *,
    node: str | None = None,
    other: str | None = None,
    pod: str | None = None,
    other_pod: str | None = None,
) -> FaultState:
    """Apply a fault, whole or not at all, and return what it was applied to. Raises: LabError."""
    fault = _find(name)
    with cluster.changing() as state:
        target = choose_target(cluster, node, other, pod, other_pod)
        if refused := _why_not(fault, cluster, target):
            raise LabError(refused)
        named = _named(fault, target)
        identity = _identity(fault, named)
        if any(there.id == identity for there in state.faults):
            raise LabError(f"{identity} is already in effect")
        changes = Changes(cluster)
        try:
            fault.make(changes, target)
        except BaseException:
            Changes(cluster).revert(changes.undo)
            raise
        applied = FaultState(identity, name, named, changes.undo, time.time())
        state.faults.append(applied)
        return applied


def _why_not(fault: Fault, cluster: Cluster, target: Target) -> str:
    """Why a cluster can't have a fault; "" if it can."""
    spec = cluster.state.spec
    network = " ".join(filter(None, (spec.kind, spec.variant)))
    if target.kind not in fault.kinds:
        return f"{fault.name} is no fault of {network}, but of: {', '.join(fault.kinds)}"
    if fault.needs_services and not cluster.state.services:
        return f"{fault.name} needs a cluster with services"
    met = effects(fault, target)
    if fault.affects and not met:
        return f"{fault.name} affects nobody in {network}"
    if not spec.ipv6 and met and all(effect.families == (6,) for effect in met):
        return f"{fault.name} is a fault of IPv6, which this cluster is without"
    return ""


def possible(cluster: Cluster) -> list[Fault]:
    """List the faults that a cluster can have, if it has the nodes and pods that they need."""
    target = choose_target(cluster)
    return [fault for fault in FAULTS.values() if not _why_not(fault, cluster, target)]


def _find(name: str) -> Fault:
    if name not in FAULTS:
        raise LabError(f"no fault {name}; there are: {', '.join(FAULTS)}")
    return FAULTS[name]


def _named(fault: Fault, target: Target) -> dict[str, str]:
    named = {}
    for part in dict.fromkeys(("node", *fault.uses)):
        found: NodeState | Pod | None = getattr(target, part)
        if found is not None:
            named[part] = found.name
    return named


def _identity(fault: Fault, named: Mapping[str, str]) -> str:
    return ":".join([fault.name, *(named[part] for part in fault.uses if part in named)])


def affected_by(cluster: Cluster, name: str, **chosen: str | None) -> dict[Pair, bool]:
    """Map the pairs that a fault affects, applied to what is chosen, to whether that is certain."""
    return affected(_find(name), cluster.state, choose_target(cluster, **chosen))


def describe(applied: FaultState) -> str:
    """Say what a user sees of a fault, with the names of what it was applied to."""
    return _worded(FAULTS[applied.fault].summary, applied.target)


def _worded(text: str, named: Mapping[str, str]) -> str:
    # The longest word first: OTHER-POD holds OTHER.
    for part in ("other_pod", "other", "third", "pod", "node"):
        word = part.upper().replace("_", "-")
        text = re.sub(rf"\b{word}\b", named.get(part, word), text)
    return text


def offered(cluster: Cluster) -> dict[str, Any]:
    """Describe as plain data what could be broken in a cluster now, in words, and what is.

    Of each fault: what it does to whom, how it comes about, what to watch, the node with its cause, the nodes it concerns, the id under which
    it is in effect ("" where it isn't), and why it can't be made ("" where it can). Of each that is in effect: its id, the
    same words, and since when. Times are Unix seconds.
    """
    target = choose_target(cluster)
    active = {fault.id: fault for fault in cluster.state.faults}
    return {
        "now": time.time(),
        "network": " ".join(filter(None, (cluster.state.spec.kind, cluster.state.spec.variant))),
        "faults": [_taught(fault, cluster, target, active) for fault in FAULTS.values()],
        "active": [
            {"id": fault.id, "at": fault.at, **_words(FAULTS[fault.fault], fault.target)}
            for fault in active.values()
        ],
    }


def _taught(
    fault: Fault, cluster: Cluster, target: Target, active: Mapping[str, FaultState]
) -> dict[str, Any]:
    named = _named(fault, target)
    why_not = _why_not(fault, cluster, target)
    if not why_not and any(part not in named for part in fault.uses):
        why_not = f"{fault.name} needs more nodes or pods than there are"
    identity = _identity(fault, named)
    return {**_words(fault, named), "active": identity if identity in active else "", "why_not": why_not}


def _words(fault: Fault, named: Mapping[str, str]) -> dict[str, Any]:
    part, lesson = fault.blame[0], LESSONS[fault.name]
    return {
        "name": fault.name,
        "area": fault.area,
        "does": _worded(fault.summary, named),
        "cause": _worded(lesson.cause, named),
        "watch": _worded(lesson.watch, named),
        "node": named.get("node" if part == "pod" else part, ""),
        "nodes": [named[part] for part in ("node", "other", "third") if part in named],
    }


def listed(cluster: Cluster | None) -> list[dict[str, Any]]:
    """Describe all faults as plain data; those that the cluster can have, with names and pairs, if there is one."""
    return [_listed(fault, cluster) for fault in FAULTS.values()]


def _listed(fault: Fault, cluster: Cluster | None) -> dict[str, Any]:
    part, dev = fault.blame
    said: dict[str, Any] = {
        "name": fault.name,
        "area": fault.area,
        "kinds": list(fault.kinds),
        "sees": fault.summary,
        "cause": LESSONS[fault.name].cause,
        "uses": list(fault.uses),
        "needs_services": fault.needs_services,
        "blame": {"node": part.upper(), "device": dev},
        "affects": [
            {
                "from": effect.src,
                "to": effect.dst,
                "families": list(effect.families),
                "sizes": list(effect.sizes),
                "kinds": list(effect.kinds or fault.kinds),
                "at_home": effect.at_home,
                "both": effect.both,
                "certain": not effect.sometimes,
                "source_port": effect.sport or None,
            }
            for effect in fault.affects
        ],
    }
    if cluster is None:
        return said
    try:
        target = choose_target(cluster)
        if _why_not(fault, cluster, target):
            return said
        pairs = affected(fault, cluster.state, target)
    except LabError:
        return said
    named = _named(fault, target)
    blamed: NodeState | Pod | None = getattr(target, part)
    where = blamed.node if isinstance(blamed, Pod) else blamed.name if blamed is not None else ""
    said["sees"] = _worded(fault.summary, named)
    said["target"] = named
    said["blame"] = {"node": where, "device": device(fault, target)}
    if isinstance(blamed, Pod):
        said["blame"]["pod"] = blamed.name
    said["pairs"] = [
        {
            "from": p.src,
            "to": p.dst,
            "family": p.family,
            "size": p.size,
            "source_port": p.sport or None,
            "certain": certain,
        }
        for p, certain in pairs.items()
    ]
    return said


def mend(cluster: Cluster, name: str = "all") -> list[str]:
    """Undo the faults of that name or id, or all, the last one first; return their ids. Raises: LabError."""
    with cluster.changing() as state:
        chosen = [fault for fault in state.faults if name in ("all", fault.id, fault.fault)]
        if not chosen and name != "all":
            raise LabError(f"no fault {name} is in effect")
        for fault in reversed(chosen):
            Changes(cluster).revert(fault.undo)
            state.faults.remove(fault)
        return [fault.id for fault in chosen]
