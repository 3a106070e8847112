"""The checking process's work: lead, judge each change of the live state, keep what is found.

One round takes the live state of a moment, has the checks judge it, lets the ledger say what that means for the
problems that are known, and writes it. Rounds follow changes; without any, the lease is renewed.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from django.conf import settings
from django.db import connection
from django.utils import timezone

from netviz.core.check.problem import Difference, NodeHealth, Report
from netviz.core.check.problem import Problem as Found
from netviz.core.intent.why import told
from netviz.core.sim.context import simulate_in_context
from netviz.core.state.node import ClusterState
from netviz.core.state.objects import cluster_of
from netviz.ingest.faults import sentence
from netviz.ingest.store import Store
from netviz.parts import AWAY
from netviz.problems import keeping
from netviz.problems.checks import AT_ONCE, Judge
from netviz.problems.leadership import RENEW_EVERY_S, Leadership, LostLead
from netviz.problems.ledger import Ledger, Step
from netviz.problems.sight import Looker, Seen
from netviz.problems.webhook import Webhook
from netviz.tracing.apis import policy_doubts
from netviz.tracing.packed import pack
from netviz.tracing.predict import describe, nodes_of
from netviz.tracing.states import View

log = logging.getLogger("netviz.problems")

COALESCE_S = 0.02
# How long what takes long goes on before problems are written and new states looked at; in the round that took a new
# state, whose facts are to be told.
WORK_S = 0.25
FIRST_WORK_S = 0.1
BODIES_S = 2.0
STAND_BY_S = 1.0
DELETE_EVERY_S = 60.0
# A round that takes longer is not going to end.
HUNG_S = 900.0
HUNG = 70
# How long a round may take for traces of new problems; what is left comes with the next one.
EVIDENCE_S = 0.1
# So many random pairs go on being traced in full, beside those of the first run.
AUDITED_AT_ONCE = 4
AUDIT_EVERY_S = 2.0
# Of a core, where nothing else is to do; and no longer apart than that.
AUDIT_SHARE = 0.02
AUDIT_AT_LEAST_EVERY_S = 30.0
# A new state is looked at before more is audited.
AUDIT_WORK_S = 0.1
MOST_FAULTS_LOGGED = 100


class Judging:
    """The loop. The store is opened when there is something to judge: who stands by holds no state."""

    def __init__(self, open_store: Callable[[], Store], make: Callable[[], Judge], me: str) -> None:
        self._open_store = open_store
        self._make_judge = make
        self._lead = Leadership(me)
        self._told = threading.Event()
        self._changed = threading.Event()
        self._stop = threading.Event()
        self._store: Store | None = None
        self._round_began_s: float | None = None
        self._leading = False
        self._waiting = False
        self._deleted_s = time.monotonic()
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._ledger = Ledger()
        self._looker: Looker | None = None
        self._judge = self._make_judge()
        self._judged: tuple[ClusterState, Mapping[str, NodeHealth]] | None = None
        # The states that were handed to the checks and aren't judged to the end, after the newest that is.
        self._followed: list[tuple[ClusterState, datetime]] = []
        self._judged_at: datetime | None = None
        self._pending_at: datetime | None = None
        self._report = Report()
        self._error = ""
        self._left = False  # whether the checks have something left to do, if only to audit
        self._unwritten: list[Step] = []
        self._given_up: set[bytes] = set()
        self._shown: tuple[Any, ...] = ()
        self._audit_s = time.monotonic()
        self._faults: set[Difference] = set()  # of the checks, that are in the log

    def told(self) -> None:
        """Say, from any thread, that the store holds the live state of a moment."""
        self._told.set()
        self._changed.set()

    def stop(self) -> None:
        """End after this round."""
        self._stop.set()
        self.told()

    def run(self) -> None:
        """Judge until `stop`."""
        self._told.wait()
        threading.Thread(target=self._keep_lead, name="checks-lease", daemon=True).start()
        Webhook(self._lead).start()
        while not self._stop.is_set():
            try:
                self._turn()
                self._waits("")
            except LostLead:
                log.warning("another process judges now")
                self._stand_back()
            except AWAY as err:
                self._waits(str(err))
                self._stop.wait(STAND_BY_S)
            finally:
                connection.close_if_unusable_or_obsolete()

    def _waits(self, reason: str) -> None:
        """Say that what is needed is away, once until it is back; "": it is here."""
        if bool(reason) != self._waiting:
            self._waiting = bool(reason)
            if reason:
                log.warning("checking waits for what is away: %s", reason)
            else:
                log.warning("checking goes on")

    def _turn(self) -> None:
        if not self._leading:
            if not self._lead.take():
                self._stop.wait(STAND_BY_S)
                return
            log.info("this process judges the cluster")
            self._leading = True
        if self._looker is None:
            self._ledger = Ledger(keeping.load())
            self._looker = Looker(self._watched())
        if self._pending_at is None:
            self._changed.wait(self._wait_s())
            self._stop.wait(COALESCE_S)
        self._await_bodies()
        self._changed.clear()
        if not self._stop.is_set():
            self._round(self._looker)

    def _await_bodies(self) -> None:
        """Wait a while for bodies of rules that are on their way: a state without them says little."""
        assert self._store is not None
        until_s = time.monotonic() + BODIES_S
        while (lacking := set(self._store.wanted_bodies()) - self._given_up) and time.monotonic() < until_s:
            if self._stop.wait(COALESCE_S):
                return
        self._given_up |= lacking

    def _watched(self) -> Store:
        store = self._open_store()
        if store is not self._store:
            self._store = store
            store.subscribe(lambda *change: self._changed.set())
        return store

    def _wait_s(self) -> float:
        due_s = self._ledger.due_s()
        until_s = RENEW_EVERY_S if due_s is None else min(RENEW_EVERY_S, due_s - time.time())
        return 0.0 if self._left else max(0.0, min(until_s, self._audit_s - time.monotonic()))

    def _stand_back(self) -> None:
        self._leading = False
        self._begin_anew()

    def _round(self, looker: Looker) -> None:
        began_at, began_s = timezone.now(), time.monotonic()
        seen = looker.look()
        self._judge_what_is_new(seen, began_at)
        sight = seen.sight if self._judged_at is not None else seen.sight._replace(judged=AT_ONCE)
        self._unwritten += self._ledger.fold(
            self._report.problems,
            sight,
            began_at.timestamp(),
            self._state_s(began_at),
            self._lasts_in(seen.view.cluster),
        )
        results = msgspec.to_builtins(self._report.results)
        # How many pairs are audited by now is no news: it is written with the rest.
        told = [{**result, "audited": 0} for result in results]
        shown = (told, sight.away, seen.expected, self._error, self._pending_at is None)
        if self._unwritten or shown != self._shown or self._lead.due:
            keeping.write(
                self._lead,
                self._unwritten,
                judging_since=self._pending_at,
                took_s=time.monotonic() - began_s,
                pods=self._report.pods,
                pairs=self._report.pairs,
                classes=self._report.classes,
                expected=seen.expected,
                away=[why for name, why in sight.away.items() if cluster_of(name) is None],
                results=results,
                error=self._error,
                judged_at=self._judged_at,
            )
            self._unwritten, self._shown = [], shown
        self._add_evidence(seen.view)
        if time.monotonic() - self._deleted_s > DELETE_EVERY_S:
            self._deleted_s = time.monotonic()
            keeping.delete_old()

    def _state_s(self, now: datetime) -> Callable[[Found], float]:
        """Say of what moment the state is in which a problem was looked for."""
        late = self._judged_at or now
        times = {id(state): at for state, at in self._followed}

        def state_s(one: Found) -> float:
            at = now if one.kind in AT_ONCE else times.get(id(self._judge.found_in(one)), late)
            return at.timestamp()

        return state_s

    def _lasts_in(self, now: ClusterState) -> Callable[[Found], bool]:
        """Tell of a problem whether the state of now has it: it was found there, or that is proved."""
        newest = self._followed[-1][0] if self._followed else None

        def lasts(one: Found) -> bool:
            found_in = self._judge.found_in(one)
            return (found_in is not None and found_in is newest) or self._judge.lasts(one, now)

        return lasts

    def _judge_what_is_new(self, seen: Seen, now: datetime) -> None:
        """Judge a state that isn't the one before, and go on with what takes long.

        Checks that fail are a result: the last report stands, and nothing is over.
        """
        new = self._judged is None or self._judged[0] is not seen.cluster or self._judged[1] != seen.health
        behind = new or self._pending_at is not None
        if not behind and self._judged_at is not None:
            self._judged_at = now  # nothing has changed since
        if not behind and not self._left and not self._audit_is_due():
            return
        self._round_began_s = time.monotonic()
        try:
            if new:
                self._judge.judge(seen.view.cluster, seen.health)
                self._judged = (seen.cluster, seen.health)
                self._followed.append((seen.view.cluster, now))
            spent_s = time.thread_time()
            self._work(FIRST_WORK_S if new else WORK_S if behind else AUDIT_WORK_S)
            if behind:
                self._note_what_is_done()
            else:
                self._rest_from_audit(time.thread_time() - spent_s)
            self._report, self._error = self._judge.report(), ""
            self._log_faults()
        except Exception as err:
            if not self._error:
                log.exception("the checks failed")
            # What they remember may be out of step with the state, so they begin anew with the next one.
            self._error = sentence(err)
            self._judge, self._followed = self._make_judge(), []
            self._judged_at = self._pending_at = None
            self._left = False
            self._judged = (seen.cluster, seen.health)
        finally:
            self._round_began_s = None

    def _note_what_is_done(self) -> None:
        """Find the newest state that all checks have judged to the end, and since when something newer waits."""
        places = {id(state): number for number, (state, _) in enumerate(self._followed)}
        done = [places.get(id(one)) for one in self._judge.done]
        if None not in done:
            oldest = min(number for number in done if number is not None)
            self._judged_at = self._followed[oldest][1]
            del self._followed[:oldest]
        waiting = self._followed[1:] if self._judged_at is not None else self._followed
        self._pending_at = waiting[0][1] if waiting else None

    def _work(self, for_s: float) -> None:
        """Work at what takes long for a while, at the audit last; no longer than until the ledger has something to say."""
        due_s = self._ledger.due_s()
        if due_s is not None:
            for_s = min(for_s, due_s - time.time())
        until_s = time.monotonic() + for_s
        judged = self._is_all_judged()
        while (left := self._judge.work()) and time.monotonic() < until_s:
            if not judged and self._is_all_judged():
                break  # what that comes to is told before anything is audited
        self._left = left

    def _is_all_judged(self) -> bool:
        """Tell whether every check has judged the newest state to the end."""
        return not self._followed or all(one is self._followed[-1][0] for one in self._judge.done)

    def _audit_is_due(self) -> bool:
        """Have a few pairs audited, once in a while."""
        due = time.monotonic() >= self._audit_s
        if due:
            self._audit_s = time.monotonic() + AUDIT_EVERY_S
            self._judge.audit(AUDITED_AT_ONCE)
        return due

    def _rest_from_audit(self, spent_s: float) -> None:
        """Put the next pairs off for as long as makes what these took their share of a core."""
        now_s = time.monotonic()
        due_s = max(self._audit_s, now_s) + spent_s / AUDIT_SHARE
        self._audit_s = min(due_s, now_s + AUDIT_AT_LEAST_EVERY_S)

    def _log_faults(self) -> None:
        """Log what a full trace says otherwise than a check did, with all that is needed to see it again, once."""
        standing = set(self._report.differences)
        for fault in sorted(standing - self._faults, key=str)[:MOST_FAULTS_LOGGED]:
            log.error("the check of all pairs is at fault: %s; traced: %s", fault, "; ".join(fault.flows))
        self._faults = standing

    def _add_evidence(self, view: View) -> None:
        """Trace the flows of problems that have no trace yet, as long as there is time."""
        until_s = time.monotonic() + EVIDENCE_S
        traces: dict[int, bytes] = {}
        for kept in self._ledger.kept.values():
            if kept.traced or kept.row is None or kept.found.flow is None:
                continue
            if time.monotonic() > until_s:
                self._changed.set()
                break
            kept.traced = True
            if (packed := trace_of(view, kept.found)) is not None:
                traces[kept.row] = packed
        if traces:
            keeping.put_traces(self._lead, traces)

    def _since(self, took_s: float) -> datetime:
        """Since when a state waits to be judged, while a round goes on that began some time ago: maybe from before it."""
        began_at = datetime.fromtimestamp(time.time() - took_s, UTC)
        return min(self._pending_at or began_at, began_at)

    def _keep_lead(self) -> None:
        """Renew the lease when nothing else does; end the process when a round never ends."""
        while not self._stop.wait(RENEW_EVERY_S / 2):
            began_s, fields = self._round_began_s, {}
            if began_s is not None:
                took_s = time.monotonic() - began_s
                if took_s > HUNG_S:
                    log.critical("judging takes longer than %.0f s: this process gives up", HUNG_S)
                    os._exit(HUNG)
                fields = {"judging_since": self._since(took_s)}
            try:
                if self._leading and self._lead.due:
                    self._lead.write(**fields)
            except (LostLead, *AWAY) as err:
                log.debug("cannot renew the lease: %s", err)  # the next round says it
            finally:
                connection.close()


def trace_of(view: View, found: Found) -> bytes | None:
    """Trace a problem's flow through a view of the state, packed; None when it has none or that fails."""
    if found.flow is None:
        return None
    try:
        trace = simulate_in_context(view.cluster, found.flow)
        return pack(
            told(
                view.cluster,
                trace,
                policy_doubts(view),
                describe(view, sorted(nodes_of(trace))),
                settings.ENTER,
            )
        )
    except Exception:
        log.exception("cannot trace the flow of %s", found.key)
        return None
