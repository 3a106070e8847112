"""An observation is run: it waits for its turn, predicts, talks with the collectors, and lays both beside each other."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from django.db import connection
from django.db.models import F
from django.db.models.functions import Coalesce, Now

from netviz.core.observe.cannot import ALWAYS_UNSEEN
from netviz.core.observe.clocks import in_line
from netviz.core.observe.differs import first_difference, where_it_is
from netviz.core.observe.evidence import Evidence, judge
from netviz.core.observe.gather import Gathering
from netviz.core.observe.kept import dump_kept, kept_of
from netviz.core.observe.match import Observation as Judged
from netviz.core.observe.render import observed_json
from netviz.core.sim.packet import IPPROTO_TCP, IPPROTO_UDP
from netviz.core.sim.trace import Flow
from netviz.observing.conversation import CannotObserve, Conversation
from netviz.observing.models import Observation
from netviz.observing.notify import announce
from netviz.observing.queue import LONGEST_WAIT_S, Status, ahead_of, lease_of
from netviz.observing.request import ObserveRequest
from netviz.parts import AWAY, DATABASE_AWAY
from netviz.tracing.packed import pack
from netviz.tracing.predict import CannotTrace, Prediction, Resolved, nodes_of, predict, resolve
from netviz.tracing.states import View, live

log = logging.getLogger("netviz.observing")

# Of the nodes that must not see the probe, so many are watched.
MAX_OTHERS = 16
NUMBERS = 100_000
EPHEMERAL_PORTS = (32768, 60999)
ATTEMPTS = 3
LOOK_S = 0.1
SHOW_EVERY_S = 0.1
MAX_KEPT_BYTES = 16 << 20
DIFFERS = "differs"
FAILED_INSIDE = "the server failed; its log has the details"
IN_USE = "Address already in use"


def start(pk: int, request: ObserveRequest) -> None:
    """Run an observation on a thread of its own."""
    threading.Thread(target=ProbeRun(pk, request).run, name=f"observation-{pk}", daemon=True).start()


def choose_nodes(prediction: Prediction, view: View) -> tuple[list[str], int]:
    """The nodes to watch: those that the prediction names and others, which must not see it; and how many are left out."""
    named = nodes_of(prediction.trace) & view.inputs.keys()
    others = sorted(
        name
        for name, one in view.inputs.items()
        if name not in named and one.contact is not None and one.contact.connected
    )
    return sorted(named) + others[:MAX_OTHERS], max(0, len(others) - MAX_OTHERS)


def with_port(resolved: Resolved) -> Resolved:
    """Choose the source port or echo identifier, where the request names none, before the collectors are asked."""
    flow = resolved.flow
    if flow.own_sport:
        return resolved
    low, high = EPHEMERAL_PORTS if flow.proto in (IPPROTO_TCP, IPPROTO_UDP) else (1, 0xFFFF)
    sport = low + secrets.randbelow(high - low + 1)
    return resolved._replace(flow=msgspec.structs.replace(flow, sport=sport))


class Run(ABC):
    """One observation's run, of any kind: it waits for its turn, observes, and has an end whatever happens."""

    def __init__(self, pk: int) -> None:
        self._pk = pk
        self._lease = lease_of(pk)

    def run(self) -> None:
        """Run it to its end."""
        try:
            with self._lease:
                self._end(**self._outcome())
        except DATABASE_AWAY as err:
            log.error("observation %d has no end, and lapses: %s", self._pk, err)
        finally:
            connection.close()

    def _outcome(self) -> dict[str, Any]:
        """Run it; return how it ends, as the fields to write."""
        try:
            return self._run()
        except (CannotObserve, CannotTrace) as err:
            return {"status": Status.FAILED, "error": str(err)}
        except AWAY as err:
            log.warning("observation %d failed: %s", self._pk, err)
            return {"status": Status.FAILED, "error": f"a part of the server is away: {err}"}
        except Exception:
            log.exception("observation %d failed", self._pk)
            return {"status": Status.FAILED, "error": FAILED_INSIDE}

    def _run(self) -> dict[str, Any]:
        for _ in range(ATTEMPTS - 1):
            self._await_turn()
            try:
                return self._observe()
            except CannotObserve as err:
                if IN_USE not in str(err):
                    raise
        self._await_turn()
        return self._observe()

    def _await_turn(self) -> None:
        """Wait until nobody who came before watches any of the nodes. Raises: CannotObserve."""
        limit = time.monotonic() + LONGEST_WAIT_S
        while ahead_of(Observation.objects.get(pk=self._pk)):
            if time.monotonic() > limit:
                raise CannotObserve("others before it didn't end; observe again later")
            time.sleep(LOOK_S)

    @abstractmethod
    def _observe(self) -> dict[str, Any]:
        """Observe; return how it ends, as the fields to write. Raises: CannotObserve, CannotTrace, and what AWAY has."""

    def _write(self, **fields: Any) -> None:
        self._lease.mine.update(version=F("version") + 1, **fields)

    def _progress(self, **fields: Any) -> None:
        """Show what was seen so far. While the database is away that is kept for the end."""
        try:
            self._write(**fields)
        except DATABASE_AWAY as err:
            log.warning("cannot show observation %d as it goes: %s", self._pk, err)
            connection.close()
            return
        announce(self._pk)

    def _end(self, **fields: Any) -> None:
        self._lease.finish(version=F("version") + 1, **fields)
        announce(self._pk)


class ProbeRun(Run):
    """One probe's run."""

    def __init__(self, pk: int, request: ObserveRequest) -> None:
        super().__init__(pk)
        self._request = request
        self._shown_s = 0.0
        self._status = Status.RUNNING

    def _observe(self) -> dict[str, Any]:
        """Send so many probes as were asked for; the first that differs is shown, or else the last."""
        ends: list[_End] = []
        for number in range(self._request.count):
            try:
                ends.append(self._probe(f"{self._pk}.{number}" if number else str(self._pk)))
            except CannotObserve as err:
                if not ends:
                    raise
                ends.append(_End({}, {}, str(err)))
                break
        shown = next((one for one in ends if one.fields.get("finding") == DIFFERS), None)
        shown = shown or [one for one in ends if one.fields][-1]
        if len(ends) > 1:
            shown.result["observation"]["probes"] = [one.summary() for one in ends]
            shown.fields["headline"] = f"{told_of(ends)} {shown.fields['headline']}"
            if any(one.error for one in ends):
                shown.fields["status"] = Status.PARTIAL
        return {**shown.fields, **packed_fields(shown.result)}

    def _probe(self, ident: str) -> _End:
        view = live()
        resolved = with_port(resolve(self._request, view))
        prediction = predict(resolved)
        nodes, left_out = choose_nodes(prediction, view)
        self._write(nodes=nodes)
        self._await_turn()  # the prediction may name other nodes than when it was queued
        self._write(status=Status.RUNNING, started_at=Coalesce("started_at", Now()))
        announce(self._pk)
        kernels = {node: view.cluster.nodes[node].boot_id for node in nodes if node in view.cluster.nodes}
        cannot = list(ALWAYS_UNSEEN)
        if left_out:
            cannot.append(f"{left_out} other nodes")

        def progress(gathering: Gathering, waiting: bool) -> None:
            status = Status.WAITING if waiting else Status.RUNNING
            if status == self._status and time.monotonic() < self._shown_s + SHOW_EVERY_S:
                return
            self._status, self._shown_s = status, time.monotonic()
            _, _, result = _laid(prediction, view, gathering.evidence(), cannot)
            self._progress(status=status, **packed_fields(result))

        number = secrets.randbelow(NUMBERS)
        conversation = Conversation(ident, prediction.trace, number, nodes, kernels, progress)
        gathering = conversation.run()
        evidence, judged, result = _laid(prediction, view, gathering.evidence(), cannot)
        is_partial = any(one.missing or one.lost for one in evidence.sources)
        finding, headline = found(judged, evidence)
        status = Status.PARTIAL if is_partial else Status.DONE
        kept = _kept(view, nodes, evidence, prediction.trace.flow) if finding == DIFFERS else {}
        return _End({"status": status, "finding": finding, "headline": headline, **kept}, result)


class _End(NamedTuple):
    """How one probe ended: the observation's fields and its JSON, or why it wasn't sent."""

    fields: dict[str, Any]
    result: dict[str, Any]
    error: str = ""

    def summary(self) -> dict[str, Any]:
        """The probe in a list of several."""
        told = self.result["observation"]["told"] if self.result else None
        port = self.result["flow"]["sport"] if self.result else None
        return {
            "finding": self.fields.get("finding"),
            "headline": self.fields.get("headline"),
            "told": told,
            "sport": port,
            "error": self.error or None,
        }


def told_of(ends: Sequence[_End]) -> str:
    """Say in a sentence how several probes ended."""
    words = {
        "agrees": "as predicted",
        DIFFERS: "otherwise than predicted",
        "unseen": "not seen",
        "": "not sent",
    }
    counts = Counter(words[one.fields.get("finding", "")] for one in ends)
    return f"{len(ends)} probes: {', '.join(f'{count} {word}' for word, count in counts.items())}."


def _laid(
    prediction: Prediction, view: View, evidence: Evidence, cannot: Sequence[str]
) -> tuple[Evidence, Judged, dict[str, Any]]:
    evidence = in_line(evidence, prediction.trace)
    judged = judge(view.cluster, prediction.trace, evidence)
    result = msgspec.json.decode(msgspec.json.encode(prediction.result))
    return evidence, judged, observed_json(result, judged, evidence, cannot)


def _kept(view: View, nodes: Sequence[str], evidence: Evidence, flow: Flow) -> dict[str, Any]:
    """Keep what differs as a file, if that says the same and isn't too large."""
    kept = kept_of(view.cluster, nodes, flow, evidence, time.time())
    data = dump_kept(kept)
    if len(data) > MAX_KEPT_BYTES or not kept.judged()[1].nearest.contradictions:
        log.warning("an observation that differs isn't kept as a file (%d bytes)", len(data))
        return {}
    return {"kept": data, "kept_bytes": len(data)}


def packed_fields(result: dict[str, Any]) -> dict[str, Any]:
    """Pack a result as the fields of an observation."""
    packed = pack(result)
    return {"packed": packed, "packed_bytes": len(packed)}


def found(judged: Judged, evidence: Evidence) -> tuple[str, str]:
    """Say in a word and in a sentence how prediction and kernels compare."""
    nearest = judged.nearest
    matches = [*nearest.forward.matches, *(nearest.reply.matches if nearest.reply is not None else ())]
    agreed = sum(match.status == "agree" for match in matches)
    if not judged.taken:
        places = "place" if nearest.contradictions == 1 else "places"
        first = first_difference(nearest)
        where = f", first {where_it_is(first)}" if first is not None else ""
        return (
            DIFFERS,
            f"The kernels did otherwise than predicted in {nearest.contradictions} {places}{where}.",
        )
    if not agreed:
        return (
            "unseen",
            f"Nothing was seen of {len(matches)} predicted steps, and nothing speaks against them.",
        )
    if agreed == len(matches):
        said = f"All {len(matches)} predicted steps were seen."
    else:
        said = f"{agreed} of {len(matches)} predicted steps were seen, and nothing speaks against the others."
    return "agrees", said if not evidence.lost else f"{said} Events were lost."
