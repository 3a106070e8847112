"""An observation is run: it waits for its turn, predicts, talks with the collectors, and lays both beside each other."""

from __future__ import annotations

import logging
import secrets
import threading
import time
from collections.abc import Sequence
from typing import Any

import msgspec
from django.db import connection
from django.db.models import F
from django.db.models.functions import Now

from netviz.core.observe.cannot import ALWAYS_UNSEEN
from netviz.core.observe.clocks import in_line
from netviz.core.observe.evidence import Evidence, judge
from netviz.core.observe.gather import Gathering
from netviz.core.observe.match import Observation as Judged
from netviz.core.observe.render import observed_json
from netviz.core.sim.packet import IPPROTO_TCP, IPPROTO_UDP
from netviz.observing.conversation import CannotObserve, Conversation
from netviz.observing.models import Observation
from netviz.observing.notify import announce
from netviz.observing.queue import LEASE, UNFINISHED, Status, ahead_of
from netviz.observing.request import ObserveRequest
from netviz.parts import AWAY
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
RENEW_S = 3.0
SHOW_EVERY_S = 0.1
LONGEST_WAIT_S = 300.0
FAILED_INSIDE = "the server failed; its log has the details"
IN_USE = "Address already in use"


def start(pk: int, request: ObserveRequest) -> None:
    """Run an observation on a thread of its own."""
    threading.Thread(target=Run(pk, request).run, name=f"observation-{pk}", daemon=True).start()


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


class Run:
    """One observation's run."""

    def __init__(self, pk: int, request: ObserveRequest) -> None:
        self._pk = pk
        self._request = request
        self._mine = Observation.objects.filter(pk=pk, status__in=UNFINISHED)
        self._renewed_s = time.monotonic()
        self._shown_s = 0.0
        self._status = Status.RUNNING

    def run(self) -> None:
        """Run it to its end."""
        try:
            self._run()
        except (CannotObserve, CannotTrace) as err:
            self._end(status=Status.FAILED, error=str(err))
        except AWAY as err:
            log.warning("observation %d failed: %s", self._pk, err)
            self._end(status=Status.FAILED, error=f"a part of the server is away: {err}")
        except Exception:
            log.exception("observation %d failed", self._pk)
            self._end(status=Status.FAILED, error=FAILED_INSIDE)
        finally:
            connection.close()

    def _run(self) -> None:
        for attempt in range(ATTEMPTS):
            self._await_turn()
            try:
                self._observe()
                return
            except CannotObserve as err:
                if IN_USE not in str(err) or attempt == ATTEMPTS - 1:
                    raise

    def _await_turn(self) -> None:
        """Wait until nobody who came before watches any of the nodes. Raises: CannotObserve."""
        limit = time.monotonic() + LONGEST_WAIT_S
        while ahead_of(Observation.objects.get(pk=self._pk)):
            if time.monotonic() > limit:
                raise CannotObserve("others before it didn't end; observe again later")
            self._renew()
            time.sleep(LOOK_S)

    def _observe(self) -> None:
        view = live()
        resolved = with_port(resolve(self._request, view))
        prediction = predict(resolved)
        nodes, left_out = choose_nodes(prediction, view)
        self._write(nodes=nodes)
        self._await_turn()  # the prediction may name other nodes than when it was queued
        self._write(status=Status.RUNNING, started_at=Now())
        announce(self._pk)
        kernels = {node: view.cluster.nodes[node].boot_id for node in nodes if node in view.cluster.nodes}
        cannot = list(ALWAYS_UNSEEN)
        if left_out:
            cannot.append(f"{left_out} other nodes")

        def progress(gathering: Gathering, waiting: bool) -> None:
            self._renew()
            status = Status.WAITING if waiting else Status.RUNNING
            if status == self._status and time.monotonic() < self._shown_s + SHOW_EVERY_S:
                return
            self._status, self._shown_s = status, time.monotonic()
            _, _, result = _laid(prediction, view, gathering.evidence(), cannot)
            self._write(status=status, **_packed(result))
            announce(self._pk)

        number = secrets.randbelow(NUMBERS)
        conversation = Conversation(str(self._pk), prediction.trace, number, nodes, kernels, progress)
        gathering = conversation.run()
        evidence, judged, result = _laid(prediction, view, gathering.evidence(), cannot)
        is_partial = any(one.missing or one.lost for one in evidence.sources)
        finding, headline = found(judged, evidence)
        self._end(
            status=Status.PARTIAL if is_partial else Status.DONE,
            finding=finding,
            headline=headline,
            **_packed(result),
        )

    def _write(self, **fields: Any) -> None:
        self._mine.update(version=F("version") + 1, lease_until=Now() + LEASE, **fields)
        self._renewed_s = time.monotonic()

    def _renew(self) -> None:
        if time.monotonic() > self._renewed_s + RENEW_S:
            self._renewed_s = time.monotonic()
            self._mine.update(lease_until=Now() + LEASE)

    def _end(self, **fields: Any) -> None:
        self._write(finished_at=Now(), **fields)
        announce(self._pk)


def _laid(
    prediction: Prediction, view: View, evidence: Evidence, cannot: Sequence[str]
) -> tuple[Evidence, Judged, dict[str, Any]]:
    evidence = in_line(evidence, prediction.trace)
    judged = judge(view.cluster, prediction.trace, evidence)
    result = msgspec.json.decode(msgspec.json.encode(prediction.result))
    return evidence, judged, observed_json(result, judged, evidence, cannot)


def _packed(result: dict[str, Any]) -> dict[str, Any]:
    packed = pack(result)
    return {"packed": packed, "packed_bytes": len(packed)}


def found(judged: Judged, evidence: Evidence) -> tuple[str, str]:
    """Say in a word and in a sentence how prediction and kernels compare."""
    nearest = judged.nearest
    matches = [*nearest.forward.matches, *(nearest.reply.matches if nearest.reply is not None else ())]
    agreed = sum(match.status == "agree" for match in matches)
    if not judged.taken:
        places = "place" if nearest.contradictions == 1 else "places"
        return "differs", f"The kernels did otherwise than predicted in {nearest.contradictions} {places}."
    if not agreed:
        return (
            "unseen",
            f"Nothing was seen of {len(matches)} predicted steps, and nothing speaks against them.",
        )
    said = f"{agreed} of {len(matches)} predicted steps were seen, and nothing speaks against the others."
    return "agrees", said if not evidence.lost else f"{said} Events were lost."
