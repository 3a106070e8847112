"""A trace is worked out: a queued one by whoever claims it, or at once."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import msgspec

from netviz.parts import AWAY
from netviz.tracing.claims import Claim, Status, take
from netviz.tracing.models import TraceRun
from netviz.tracing.notify import announce
from netviz.tracing.packed import pack
from netviz.tracing.predict import CannotTrace, Prediction, Resolved, catch_up, predict, resolve
from netviz.tracing.request import TraceRequest
from netviz.tracing.states import live

log = logging.getLogger("netviz.tracing")

MAX_REASON = 64
MAX_HEADLINE = 300
FAILED_INSIDE = "the simulator failed; the server's log has the details"


def execute(trace_id: int, at_least: Mapping[str, int]) -> None:
    """Run a queued trace; do nothing when it isn't queued any more.

    A worker elsewhere hears of changes a little later than the server that the trace was asked from:
    `at_least` are the revisions that it is to know first.
    """
    claim = take(trace_id)
    if claim is None:
        return
    announce(trace_id)
    with claim:
        written = _run(claim, trace_id, at_least)
    if written:
        announce(trace_id)
    else:
        log.warning("trace %d was ended or taken over meanwhile: this result is not kept", trace_id)


def _run(claim: Claim, trace_id: int, at_least: Mapping[str, int]) -> bool:
    """Work a claimed run out; False when the claim was lost meanwhile."""
    try:
        if not catch_up(at_least):
            log.warning("trace %d reads states that are older than when it was asked for", trace_id)
        resolved = resolve(request_of(TraceRun.objects.get(pk=trace_id)), live())
    except CannotTrace as err:
        return claim.finish(status=Status.FAILED, error=str(err))
    except AWAY as err:
        log.warning("trace %d is queued again: %s", trace_id, err)
        return claim.give_back()
    except Exception:
        log.exception("trace %d failed", trace_id)
        return claim.finish(status=Status.FAILED, error=FAILED_INSIDE)
    fields, _ = work_out(resolved)
    return claim.finish(**fields)


def work_out(resolved: Resolved) -> tuple[dict[str, Any], Prediction | None]:
    """Predict; return how the run ends, as the fields to write, and the prediction if there is one."""
    try:
        prediction = predict(resolved)
    except Exception:
        log.exception("a trace failed")
        return {"status": Status.FAILED, "error": FAILED_INSIDE}, None
    result = prediction.result
    packed = pack(result)
    fields = {
        "status": Status.DONE,
        "packed": packed,
        "packed_bytes": len(packed),
        "disposition": result["disposition"],
        "reason": (result["reason"] or "")[:MAX_REASON],
        "reply": _replies(result)[:MAX_REASON],
        "outcome": result["outcome"],
        "headline": result["headline"][:MAX_HEADLINE],
        "inputs": {entry["node"]: entry["revision"] for entry in result["state"]},
    }
    return fields, prediction


def _replies(result: dict[str, Any]) -> str:
    """The return's dispositions, each once, in the branches' order; none where nothing is answered."""
    replies = [branch["reply"]["disposition"] for branch in result["branches"] if branch["reply"] is not None]
    return ", ".join(dict.fromkeys(replies))


def request_of(run: TraceRun) -> TraceRequest:
    """Read a kept request back."""
    return msgspec.convert(run.request, TraceRequest)
