"""How far each node's rules do what the API asks for one service: by port and endpoint, and in words what differs.

It is the check's own judgement of the same traces (`netviz.core.check.services.differences`), for who looks at one service.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Literal

import msgspec

from netviz.core.check.services.datapath import ChainRule, Datapath
from netviz.core.check.services.differences import (
    Difference,
    Look,
    Port,
    differences,
    looks,
    ports_of,
)
from netviz.core.check.text import joined
from netviz.core.intent.services import NODE, PODS, End
from netviz.core.model.addr import format_endpoint
from netviz.core.model.kubernetes import ObjectKey
from netviz.core.sim.services import CLUSTER, NODE_PORT
from netviz.core.state.objects import Objects

Cell = Literal["programmed", "missing", "stale", "unknown"]
Slot = tuple[str, End]  # a service port's name, and an endpoint
# Of several entrances to one endpoint, the worst counts.
WORST: tuple[Cell, ...] = ("stale", "missing", "unknown", "programmed")
# So many services are tried to see whether a node's rules lead any of them anywhere.
MAX_TRIED = 20
MAX_DIFFERS = 3


class Programmed(msgspec.Struct, frozen=True):
    """What a node's rules do for a service. `cells` has each endpoint that they lead to, or should.

    `differs` says in a few words each what is otherwise than the API asks; of `unknown`, why nothing is known. `mode` is
    who does it: "nftables", "iptables", "iptables (legacy)", "IPVS", or "" where nothing leads anywhere.
    """

    state: Literal["programmed", "differs", "unknown"]
    cells: Mapping[Slot, Cell] = {}
    differs: tuple[str, ...] = ()
    mode: str = ""


def programming(
    datapath: Datapath, objects: Objects, key: ObjectKey, nodes: Iterable[str]
) -> Iterator[tuple[list[str], Programmed]]:
    """Say of these nodes how far their rules do what the API asks for a service, some alike ones at a time.

    `datapath` follows their state. Nodes that the API doesn't know are left out.
    """
    service = objects.services[key]
    ports = ports_of(objects, service)
    groups = datapath.alike(name for name in nodes if name in objects.kube_nodes)
    by_node = any(port.by_node for port in ports)
    for alike in groups:
        for group in [[name] for name in alike] if by_node else [alike]:
            yield group, _judged(datapath, objects, ports, group[0], groups)


def _judged(
    datapath: Datapath, objects: Objects, ports: list[Port], name: str, groups: list[list[str]]
) -> Programmed:
    every = list(looks(datapath, name, objects, ports))
    found = [one for look in every for one in differences(*look)]
    unknown = {look.done.unknown: None for look in every if look.done.unknown}
    mode = next((_mode(rule) for look in every for rule in look.done.ends.values()), "")
    cells = _cells(every)
    if any(one.kind == "absent" for one in found) and not _serves(datapath, objects, name):
        others = [group[0] for group in groups if name not in group]
        if unknown or not any(_serves(datapath, objects, other) for other in others):
            why = "no rules here translate any service's address: something else may (eBPF, a proxy), or nothing does"
            return Programmed("unknown", _unsure(cells), (why,))
        return Programmed("differs", cells, ("it has no rules for any service, unlike other nodes",))
    by_port = [one for one in found if one.entrance.how == NODE_PORT]
    if by_port and not any(look.done.ends for look in every if look.port.entrance.how == NODE_PORT):
        unknown |= {"no node port is served at this node's address: it may be at others": None}
        found = [one for one in found if one not in by_port]
        cells = _cells([look for look in every if look.port.entrance.how != NODE_PORT])
    if found:
        return Programmed("differs", cells, _words(found, every), mode)
    if unknown:
        return Programmed("unknown", cells, tuple(unknown)[:MAX_DIFFERS], mode)
    return Programmed("programmed", cells, (), mode)


def agrees(datapath: Datapath, objects: Objects, key: ObjectKey, name: str) -> bool | None:
    """Tell whether a node's rules lead a service's cluster addresses where the API asks; None: that isn't known.

    Of pods' packets and the node's own, what is known of either counts.
    """
    ports = [one for one in ports_of(objects, objects.services[key]) if one.entrance.how == CLUSTER]
    known = {one.entrance: False for one in ports}
    for look in looks(datapath, name, objects, ports):
        if any(one.kind in ("missing", "stale", "absent") for one in differences(*look)):
            return False
        known[look.port.entrance] |= not look.done.unknown
    return True if known and all(known.values()) else None


def _serves(datapath: Datapath, objects: Objects, name: str) -> bool:
    """Tell whether a node's rules lead any service anywhere."""
    tried = 0
    for _, service in sorted(objects.services.items()):
        for port in ports_of(objects, service):
            if port.entrance.how != CLUSTER or not port.ends or port.by_node:
                continue
            if any(datapath.done(name, port.entrance, source).ends for source in (NODE, PODS)):
                return True
            tried += 1
            break
        if tried >= MAX_TRIED:
            break
    return False


def _cells(every: list[Look]) -> dict[Slot, Cell]:
    cells: dict[Slot, Cell] = {}
    for port, _, want, done in every:
        for end in {*want.must, *done.ends}:
            slot = port.entrance.name, end
            one: Cell
            if end in done.ends:
                one = "programmed" if end in want.may else "stale"
            else:
                one = "unknown" if done.unknown else "missing"
            cells[slot] = worst((one, cells.get(slot, one))) or one
    return cells


def worst(cells: Iterable[Cell]) -> Cell | None:
    """The worst of some cells; None of none."""
    return min(cells, key=WORST.index, default=None)


def _unsure(cells: Mapping[Slot, Cell]) -> dict[Slot, Cell]:
    return dict.fromkeys(cells, "unknown")


def _mode(rule: ChainRule) -> str:
    if not rule.chain:
        return rule.text  # IPVS
    if rule.legacy:
        return "iptables (legacy)"
    return "iptables" if rule.table == "nat" else "nftables"


def _words(found: list[Difference], every: list[Look]) -> tuple[str, ...]:
    """What differs, each thing once however many sources and entrances show it."""
    ways: dict[tuple[str, str, frozenset[End]], set[str]] = {}
    for one in found:
        ways.setdefault((one.kind, one.entrance.name, one.ends), set()).add(one.entrance.how)
    ports = {look.port.entrance.name for look in every}
    texts: dict[str, None] = {}
    for (kind, port, ends), hows in ways.items():
        where = f" (port {port})" if len(ports) > 1 and port else ""
        if CLUSTER not in hows:
            where += f" by its {min(hows)}"
        names = joined(format_endpoint(*end) for end in sorted(ends))
        match kind:
            case "missing":
                text = f"no rule leads to {names}"
            case "stale":
                text = f"still leads {_share(every, port, ends)}to {names}"
            case "absent":
                text = "no rule leads to any endpoint"
            case "passes":
                text = "there is no endpoint, and packets aren't refused"
            case _:
                text = f"{names} has more than its share"
        texts[text + where] = None
    return tuple(texts)[:MAX_DIFFERS]


def _share(every: list[Look], port: str, ends: frozenset[End]) -> str:
    """How much of the connections goes to some endpoints: "1 in 4 connections "; "" where that isn't known."""
    for look in every:
        shares = look.done.shares
        if look.port.entrance.name == port and shares and ends <= shares.keys():
            part = sum(shares[end] for end in ends)
            if not 0 < part < 0.995:
                return "all connections "
            times = 1 / part
            is_whole = abs(times - round(times)) < 0.02
            return f"1 in {round(times)} connections " if is_whole else f"{part:.0%} of connections "
    return ""
