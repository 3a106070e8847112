"""Whether a kept trace is up to date: what it asked of the state would be answered alike now.

A trace that somebody opens is worked out once more on the live state, and what it asks is remembered for as long as
it is among those that were opened last. From then on it is compared with the state only where that answers a question
otherwise; and even then it is out of date only if another trace comes of it, since some questions are coarse.
"""

from __future__ import annotations

import hashlib
import logging
import threading
import time
from collections import OrderedDict
from datetime import UTC, datetime
from typing import Any, NamedTuple

import msgspec

from netviz.core.sim.reads import Reads
from netviz.core.state.freshness import Stale
from netviz.tracing.doubt import sentence, stale_in
from netviz.tracing.models import TraceRun
from netviz.tracing.predict import CannotTrace, Ends, Prediction, ends_of, predict, resolve
from netviz.tracing.request import TraceRequest
from netviz.tracing.states import View, live

log = logging.getLogger("netviz.tracing")

MAX_KEPT = 64  # some 150 kB each
# A change that is noticed so soon after the trace was last found up to date has its time.
WATCHED_S = 10.0
CHANGED = "The state that this trace read has changed."
FRESH_NOW = "All that this trace read is fresh again, which it wasn't then."
NO_ENDS = "Its ends aren't found any more: {}."


class Currency(NamedTuple):
    """Whether a trace is up to date; None where that isn't known. `since_s` is since when it isn't, as far as known."""

    current: bool | None
    since_s: float | None = None
    note: str = ""

    def as_json(self) -> dict[str, Any]:
        """The fields of a trace's object that say so."""
        since = None if self.since_s is None else datetime.fromtimestamp(self.since_s, UTC).isoformat()
        return {"current": self.current, "outdated_since": since, "current_note": self.note or None}


# What of a step's evidence only tells one thing from others like it: a listener that begins anew has another cookie, a
# rule that is written anew another handle.
LABELS = frozenset(("command", "cookie", "handle"))
UNKNOWN = Currency(None)
FAILED_INSIDE = "The server failed to compare it with the live state; its log has the details."


class Kept:
    """What is known of one trace: the essence of its result, and what came of the state when it was last traced."""

    def __init__(self, result: dict[str, Any]) -> None:
        self.essence = essence_of(result)
        self.doubted = any("stale" in entry for entry in result["state"])
        self.lock = threading.Lock()
        self.reads: Reads | None = None
        self.ends: Ends | None = None
        self.note = ""
        self.alike_at_s: float | None = None
        self.outdated_since_s: float | None = None

    def compare(self, request: TraceRequest, view: View, now_s: float) -> None:
        """Trace again if the state answers a question otherwise."""
        if self.reads is None or not self.reads.hold(view.cluster) or self._means_another(request, view):
            self._again(request, view, now_s)
        elif not self.note:
            self.alike_at_s = now_s

    def _means_another(self, request: TraceRequest, view: View) -> bool:
        """Tell whether what users call the ends means something else now."""
        try:
            return ends_of(request, view) != self.ends
        except CannotTrace:
            return True

    def take(self, prediction: Prediction, now_s: float) -> None:
        """Compare what came of another trace with the kept one."""
        self.reads, self.ends = prediction.reads, prediction.ends
        self._set("" if essence_of(prediction.result) == self.essence else CHANGED, now_s)

    def _again(self, request: TraceRequest, view: View, now_s: float) -> None:
        try:
            resolved = resolve(request, view)
        except CannotTrace as err:
            self.reads = None
            self._set(NO_ENDS.format(err), now_s)
        else:
            self.take(predict(resolved), now_s)

    def _set(self, note: str, now_s: float) -> None:
        if not note:
            self.alike_at_s, self.outdated_since_s = now_s, None
        elif not self.note:
            watched = self.alike_at_s is not None and now_s - self.alike_at_s <= WATCHED_S
            self.outdated_since_s = now_s if watched else None
        self.note = note

    def says(self, view: View, now_s: float) -> Currency:
        """Say what was found."""
        if self.note:
            return Currency(False, self.outdated_since_s, self.note)
        found: list[Stale] = stale_in(view, self.reads, now_s) if self.reads is not None else []
        if found:
            return Currency(None, note=" ".join(map(sentence, found)))
        if self.doubted:
            return Currency(False, note=FRESH_NOW)
        return Currency(True)


_kept: OrderedDict[int, Kept] = OrderedDict()
_lock = threading.Lock()


def _of(trace_id: int) -> Kept | None:
    with _lock:
        found = _kept.get(trace_id)
        if found is not None:
            _kept.move_to_end(trace_id)
        return found


def _keep(trace_id: int, kept: Kept) -> Kept:
    with _lock:
        kept = _kept.setdefault(trace_id, kept)
        while len(_kept) > MAX_KEPT:
            _kept.popitem(last=False)
        return kept


def note(run: TraceRun, prediction: Prediction) -> None:
    """Remember what a trace asked that has just been made."""
    kept = _keep(run.pk, Kept(prediction.result))
    with kept.lock:
        kept.take(prediction, time.time())


def currency_of(run: TraceRun) -> Currency:
    """Tell whether a trace is up to date with the live state."""
    if run.status != TraceRun.Status.DONE:
        return UNKNOWN
    kept = _of(run.pk)
    if kept is None:
        result = run.result
        if result is None:
            return UNKNOWN
        kept = _keep(run.pk, Kept(result))
    view = live()
    with kept.lock:
        now_s = time.time()
        try:
            kept.compare(msgspec.convert(run.request, TraceRequest), view, now_s)
        except Exception:
            log.exception("trace %d cannot be compared with the live state", run.pk)
            return Currency(None, note=FAILED_INSIDE)
        return kept.says(view, now_s)


def shown(run: TraceRun) -> dict[str, Any]:
    """The run as JSON shows it alone, and whether it is up to date."""
    return {**run.as_json(), **currency_of(run).as_json()}


def nodes_read(trace_id: int) -> frozenset[str]:
    """The nodes whose changes may matter to a trace; of others' it is enough to ask now and then."""
    kept = _of(trace_id)
    return frozenset(kept.reads.nodes()) if kept is not None and kept.reads is not None else frozenset()


def essence_of(result: dict[str, Any]) -> bytes:
    """Digest of a trace what makes it another one: its ends and every decision, without words, ages and what was seen."""
    branches = [
        (
            branch["probability"],
            branch["disposition"],
            _hops(branch["forward"]),
            branch["reply"] and (branch["reply"]["disposition"], _hops(branch["reply"])),
        )
        for branch in result["branches"]
    ]
    flow = {name: value for name, value in result["flow"].items() if name != "service"}
    essence = msgspec.json.encode((flow, result["disposition"], branches), order="deterministic")
    return hashlib.blake2b(essence, digest_size=16).digest()


def _hops(path: dict[str, Any]) -> list[Any]:
    return [(hop["node"], hop["netns"], [_step(step) for step in hop["steps"]]) for hop in path["hops"]]


def _step(step: dict[str, Any]) -> tuple[Any, ...]:
    evidence = {name: value for name, value in step["evidence"].items() if name not in LABELS}
    return step["kind"], step["dev"], step["packet"], step["decision"], step["certainty"], evidence
