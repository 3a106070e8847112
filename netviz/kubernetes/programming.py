"""What each node's rules do for a service, as a matrix: nodes that do the same are one row, those that differ named.

The judgement is the check's (`netviz.core.check.services.programming`), made when a page asks, and kept as the check
keeps its own: what nothing has changed of isn't traced again. A large cluster isn't judged in one request: what is
left is told as not judged yet, and the next request goes on. Since when something differs is what its problem says.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any, NamedTuple

from netviz.core.check.services import programming as check
from netviz.core.check.services.check import NEEDS
from netviz.core.check.services.datapath import Datapath
from netviz.core.check.services.programming import Cell, Programmed, Slot, worst
from netviz.core.check.services.told import KINDS
from netviz.core.intent.services import Entrance, entrances
from netviz.core.model.addr import format_endpoint, format_ip
from netviz.core.model.kubernetes import KubeService, ObjectKey
from netviz.core.sim.services import slices_of
from netviz.core.state.objects import Objects
from netviz.core.state.pods import zone_of
from netviz.kubernetes.delays import delay_json, delays, of_nodes
from netviz.problems.models import Problem
from netviz.tracing.apis import Api
from netviz.tracing.states import View

SPEND_S = 1.5
# Of so many services that were asked for last, what was found is kept.
MOST_REMEMBERED = 50
MOST_COLUMNS = 24
MOST_ROWS = 40
MOST_NAMED = 12
# Problems of a node's rules as a whole.
OF_NODE = ("service-rules-behind", "service-rules-absent")
LATER = "not checked yet"
# In this order what differs comes first.
STATES = ("programmed", "differs", "unknown")


class Since(NamedTuple):
    """A problem that explains a row: its id, and since when it is so, None if it is older than what is known."""

    problem: str
    since: str | None


class Column(NamedTuple):
    """An endpoint at one port, at all its addresses. `pod` is "" of what the API doesn't have."""

    port: str
    pod: str
    slots: tuple[Slot, ...]


class Judge:
    """What nodes were found to do, from one request to the next; one request at a time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._datapath = Datapath()
        self._asked: dict[ObjectKey, frozenset[Entrance]] = {}

    def judged(
        self, view: View, objects: Objects, service: KubeService, nodes: Iterable[str]
    ) -> list[tuple[list[str], Programmed]]:
        """Judge nodes, as long as there is time; those that are left aren't in the answer."""
        until_s = time.monotonic() + SPEND_S
        found = []
        with self._lock:
            self._asked.pop(service.key, None)
            self._asked[service.key] = frozenset(entrances(service))
            for key in list(self._asked)[:-MOST_REMEMBERED]:
                del self._asked[key]
            self._datapath.forget(frozenset().union(*self._asked.values()))
            for _ in self._datapath.follow(view.cluster):
                pass
            for one in check.programming(self._datapath, objects, service.key, nodes):
                found.append(one)
                if time.monotonic() > until_s:
                    break
        return found


judge = Judge()


def programming(view: View, api: Api, service: KubeService) -> dict[str, Any]:
    """The programming of a service of a cluster, as JSON.

    `why` says why nothing is judged at all; then there are no rows.
    """
    objects = api.state.objects
    said = {"why": api.doubt(NEEDS) or None}
    if said["why"] is None and not service.cluster_ips:
        said["why"] = (
            "it has no cluster IP, so that nodes have no rules for it: its name is resolved by DNS alone"
        )
    if said["why"] is not None:
        return {
            **said,
            "nodes": 0,
            "programmed": 0,
            "columns": [],
            "columns_left_off": 0,
            "field": [],
            "rows": [],
            "left_off": 0,
            "delay": None,
        }
    known = [node for node in sorted(objects.kube_nodes) if node in view.cluster.nodes]
    unseen = [node for node in sorted(objects.kube_nodes) if node not in view.cluster.nodes]
    failed = [node for node in unseen if node in view.inputs]
    judged = judge.judged(view, objects, service, known)
    rows = _rows(view, judged)
    done = {node for nodes, _ in judged for node in nodes}
    for nodes, why in (
        ([node for node in known if node not in done], LATER),
        (failed, "the server can't read its state: its log says why"),
        ([node for node in unseen if node not in failed], "no collector has reported it"),
    ):
        if nodes:
            rows.append((nodes, Programmed("unknown", {}, (why,))))
    columns, left_off = _columns(objects, service, [one for _, one in rows])
    since, followed = _since(service), delays.of(api.name, service.key)
    took_s = followed.took_s if followed is not None else {}
    rows.sort(key=lambda row: (STATES.index(row[1].state), -len(row[0]), row[0]))
    return {
        **said,
        "nodes": len(objects.kube_nodes),
        "programmed": sum(len(nodes) for nodes, one in rows if one.state == "programmed"),
        "columns": [
            {
                "port": one.port,
                "ends": [format_endpoint(*end) for _, end in one.slots],
                "pod": one.pod or None,
            }
            for one in columns
        ],
        "columns_left_off": left_off,
        "field": _field(objects, rows),
        "rows": [
            {**_row(nodes, one, columns, since), "delay_s": of_nodes(took_s, nodes)}
            for nodes, one in rows[:MOST_ROWS]
        ],
        "left_off": sum(len(nodes) for nodes, _ in rows[MOST_ROWS:]),
        "delay": delay_json(followed),
    }


def _field(objects: Objects, rows: list[tuple[list[str], Programmed]]) -> list[dict[str, Any]]:
    """Every node's state, zone by zone: how many nodes in a row of their names' order are in the same one."""
    states = {node: _state(one) for nodes, one in rows for node in nodes}
    zones: dict[str, list[str]] = {}
    for node in sorted(states):
        zones.setdefault(zone_of(objects.kube_nodes[node]), []).append(states[node])
    return [
        {"zone": zone or None, "runs": [[state, len(list(same))] for state, same in groupby(zones[zone])]}
        for zone in sorted(zones)
    ]


def _state(one: Programmed) -> str:
    """A node's state by the worst of its endpoints."""
    if one.state != "differs":
        return one.state
    return next((cell for cell in ("missing", "stale") if cell in one.cells.values()), "differs")


def _rows(view: View, judged: list[tuple[list[str], Programmed]]) -> list[tuple[list[str], Programmed]]:
    """Put nodes together that do the same: all that do as the API asks are one row for each mode."""
    groups: dict[Any, list[str]] = {}
    made: dict[Any, Programmed] = {}
    for nodes, one in judged:
        lost = [node for node in nodes if not _connected(view, node)]
        for named, said in ((lost, _lost(one)), ([node for node in nodes if node not in lost], one)):
            if not named:
                continue
            cells = () if said.state == "programmed" else tuple(sorted(said.cells.items()))
            key = said.state, cells, said.differs, said.mode
            groups.setdefault(key, []).extend(named)
            made[key] = _both(made[key], said) if key in made else said
    return [(sorted(nodes), made[key]) for key, nodes in groups.items()]


def _both(one: Programmed, other: Programmed) -> Programmed:
    return Programmed(one.state, {**one.cells, **other.cells}, one.differs, one.mode)


def _connected(view: View, node: str) -> bool:
    known = view.inputs.get(node)
    return known is None or known.contact is None or known.contact.connected


def _lost(one: Programmed) -> Programmed:
    """What a node that isn't heard was seen to do last."""
    last = {
        "programmed": "its last state was as the API asks",
        "differs": f"its last state differed: {one.differs[0] if one.differs else ''}",
        "unknown": "nor was it known then",
    }[one.state]
    cells: dict[Slot, Cell] = dict.fromkeys(one.cells, "unknown")
    return Programmed("unknown", cells, (f"its collector isn't connected; {last}",), one.mode)


def _columns(objects: Objects, service: KubeService, every: list[Programmed]) -> tuple[list[Column], int]:
    """Choose which endpoints have a column: those that differ anywhere, then the others; and how many have none.

    A pod's addresses share one; an endpoint that the API doesn't have has no pod.
    """
    pods: dict[bytes, str] = {}
    for one in slices_of(objects.endpoint_slices).get(service.key, []):
        for of in one.endpoints:
            pods.update({addr: of.pod or format_ip(addr) for addr in of.addresses})
    slots: dict[Slot, bool] = {}
    for done in every:
        for slot, cell in done.cells.items():
            slots[slot] = slots.get(slot, False) or cell in ("missing", "stale")
    found: dict[tuple[str, str], list[Slot]] = {}
    for slot in sorted(slots):
        found.setdefault((slot[0], pods.get(slot[1][0], "")), []).append(slot)
    order = [port.name for port in service.ports]
    columns = [Column(port, pod, tuple(mine)) for (port, pod), mine in found.items()]
    columns.sort(key=lambda one: not any(slots[slot] for slot in one.slots))
    shown = sorted(
        columns[:MOST_COLUMNS],
        key=lambda one: (order.index(one.port) if one.port in order else 0, not one.pod, one.slots),
    )
    return shown, len(columns) - len(shown)


def _row(
    nodes: list[str], one: Programmed, columns: list[Column], since: Mapping[str, Since]
) -> dict[str, Any]:
    known = since.get(nodes[0]) if one.state == "differs" else None
    return {
        "nodes": nodes[:MOST_NAMED],
        "count": len(nodes),
        "mode": one.mode or None,
        "state": one.state,
        # Of a node of which nothing is known, it isn't known which endpoints it has.
        "cells": [
            worst(one.cells[slot] for slot in column.slots if slot in one.cells)
            or ("unknown" if one.state == "unknown" else None)
            for column in columns
        ],
        "differs": list(one.differs),
        "since": known.since if known is not None else None,
        "problem": known.problem if known is not None else None,
    }


def _since(service: KubeService) -> dict[str, Since]:
    """The problems that say that nodes differ for a service, by node."""
    found: dict[str, Since] = {}
    name = "/".join(service.key)
    whole = re.compile(rf"(?<![\w/.-]){re.escape(name)}(?![\w/.-])")
    for row in Problem.objects.filter(ended_at=None, gone_at=None, kind__in=KINDS).defer("packed"):
        of_service = row.key.startswith(f"{row.kind}:{name}:")
        if not of_service and row.kind not in OF_NODE and not whole.search(row.headline):
            continue
        since = row.began_at.isoformat() if row.began_at is not None else None
        for node in (row.node, *(where.node for where in row.found.also_at)):
            if of_service or node not in found:
                found[node] = Since(str(row.pk), since)
    return found
