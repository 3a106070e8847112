"""Traces from and to each pod that a name stands for (a workload, labels, a namespace, a headless service): a row each."""

from __future__ import annotations

import threading
import time
from typing import Any

import msgspec

from netviz.core.sim.endpoints import EndpointError
from netviz.core.sim.meaning import Several, each_source, each_target, source_end, target_end
from netviz.tracing.apis import policy_doubts
from netviz.tracing.predict import CannotTrace, predict, resolve
from netviz.tracing.request import TraceRequest
from netviz.tracing.states import View

MOST_ROWS = 200
SPEND_S = 5.0
# Broken flows come first.
OUTCOMES = ("broken", "breaks-contract", "uncertain", "good")

one_at_a_time = threading.Lock()


def table(request: TraceRequest, view: View, spend_s: float = SPEND_S) -> dict[str, Any]:
    """Trace each pair of a request's ends, as many as there is time for, a flow to itself left out. Raises: CannotTrace."""
    if not view.cluster.nodes:
        raise CannotTrace("no node's state is known yet: no collector has sent one")
    try:
        sources = each_source(view.cluster, request.source)
        targets = each_target(view.cluster, request.target, request.dport, request.proto)
    except EndpointError as err:
        raise CannotTrace(str(err)) from None
    pairs = [
        (source, target)
        for source in sources
        for target in targets
        if source.removeprefix("pod/") != target.removeprefix("pod/").partition(":")[0]
    ]
    until_s = time.monotonic() + spend_s
    rows = []
    for source, target in pairs[:MOST_ROWS]:
        rows.append(_row(msgspec.structs.replace(request, source=source, target=target), view))
        if time.monotonic() > until_s:
            break
    rows.sort(
        key=lambda row: (OUTCOMES.index(row["outcome"]) if row["outcome"] else -1, row["from"], row["to"])
    )
    unsure = [one for doubts in policy_doubts(view).values() for one in doubts]
    return {"version": 1, "rows": rows, "left_off": len(pairs) - len(rows), "unsure": unsure}


def several(request: TraceRequest, view: View) -> bool:
    """Tell whether an end of a request stands for several pods."""
    try:
        source_end(view.cluster, request.source)
        target_end(view.cluster, request.target, request.dport, request.proto)
    except Several:
        return True
    except EndpointError:
        return False
    return False


def _row(request: TraceRequest, view: View) -> dict[str, Any]:
    row: dict[str, Any] = {
        "from": request.source,
        "to": request.target,
        "outcome": None,
        "disposition": None,
        "headline": "",
        "allowed": None,
    }
    try:
        result = predict(resolve(request, view)).result
    except CannotTrace as err:
        return {**row, "headline": str(err)}
    why = result["policy"]
    return {
        **row,
        "outcome": result["outcome"],
        "disposition": result["disposition"],
        "headline": result["headline"],
        "allowed": why["allowed"] if why is not None else None,
    }
