"""The server's side of one observation: orders to the collectors, their reports, and when enough was seen.

How long: until the sender was told something and nothing more came for a moment. Where no answer is predicted, until
nothing more comes. A packet that waits for a neighbour is freed by a timer of the kernel, 3 s after the first request
for it (mcast_solicit x retrans_time); until then the observation is waiting.
Source: net/core/neighbour.c, neigh_timer_handler (Linux 6.18).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence

from netviz.core.observe.counters import legacy_tables
from netviz.core.observe.evidence import place_name
from netviz.core.observe.gather import GONE, SILENT, Gathering
from netviz.core.observe.orders import MOST_POINTS, Finish, Order, Pick, Prepare, Send, encode, read_report
from netviz.core.observe.routed import addresses_of
from netviz.core.sim.packet import IPPROTO_TCP, IPPROTO_UDP
from netviz.core.sim.trace import Disposition, Flow, Trace
from netviz.ingest.reports import mailbox, order

READY_S = 5.0
FINISH_S = 5.0
QUIET_S = 0.06
UNANSWERED_QUIET_S = 0.2
ANSWER_S = 1.2
TIMER_S = 3.8
LIMIT_S = 30.0
_TURN_S = 0.1


class CannotObserve(Exception):
    """The probe can't be sent; the message is one sentence for people."""


class Conversation:
    """One observation's. `kernels` has the boot ids of the nodes; `progress(waiting)` is called when there is news."""

    def __init__(
        self,
        ident: str,
        trace: Trace,
        number: int,
        nodes: Sequence[str],
        kernels: Mapping[str, str],
        progress: Callable[[Gathering, bool], None],
    ) -> None:
        self._ident = ident
        self._flow: Flow = trace.flow
        self._trace = trace
        self._number = number
        self._nodes = nodes
        self._kernels = kernels
        self._progress = progress
        self._asked_ns: dict[str, int] = {}
        self._picked: int | None = None
        self.gathering = Gathering(trace.flow, number, kernels)

    def run(self) -> Gathering:
        """Observe. Raises: CannotObserve; redis.RedisError."""
        sender = self.gathering.sender
        mailbox.open(self._ident)
        try:
            self._prepare()
            self._hear_until(READY_S, lambda: not self.gathering.unready(self._nodes))
            self._give_up(self.gathering.unready(self._nodes))
            if sender not in self.gathering.ready or sender in self.gathering.missing:
                raise CannotObserve(
                    f"{sender} can't send the probe: {self.gathering.missing.get(sender, SILENT)}"
                )
            self._order(sender, Send())
            self._watch()
        finally:
            self._finish()
            mailbox.close(self._ident)
        return self.gathering

    def _prepare(self) -> None:
        listening: set[str] = set()
        sender = self.gathering.sender
        addrs = frozenset(sorted(addresses_of(self._trace))[:MOST_POINTS])
        legacy = frozenset(sorted(legacy_tables(self._trace, place_name))[:MOST_POINTS])
        for node in sorted(self._nodes, key=lambda one: one != sender):
            kernel = self._kernels.get(node) or f"of {node}"
            tracepoints = kernel not in listening
            listening.add(kernel)
            wanted = Prepare(self._flow, self._number, node == sender, tracepoints, LIMIT_S, addrs, legacy)
            self._order(node, wanted)

    def _order(self, node: str, what: Order) -> None:
        self._asked_ns[node] = time.time_ns()
        order(node, self._ident, encode(what))

    def _hear(self, timeout_s: float) -> bool:
        """Take the next report; tell whether there was one."""
        said = mailbox.take(self._ident, timeout_s)
        if said is None:
            return False
        if said.body is None:
            self.gathering.lose(said.node, GONE)
            return True
        try:
            report = read_report(said.body)
        except ValueError:
            self.gathering.lose(said.node, "its collector said what this server doesn't understand")
            return True
        self.gathering.take(said.node, report, self._asked_ns.get(said.node, said.at_ns), said.at_ns)
        return True

    def _hear_until(self, timeout_s: float, is_over: Callable[[], bool]) -> None:
        limit = time.monotonic() + timeout_s
        while not is_over() and (left_s := limit - time.monotonic()) > 0:
            self._hear(min(left_s, _TURN_S))

    def _give_up(self, nodes: Sequence[str]) -> None:
        for node in nodes:
            self._order(node, Finish())
            self.gathering.lose(node, SILENT)

    def _watch(self) -> None:
        """Hear what is seen until that is enough. Raises: CannotObserve."""
        sender = self.gathering.sender
        self._hear_until(READY_S, lambda: self._has_begun() or sender in self.gathering.missing)
        if not self._has_begun():
            why = self.gathering.missing.get(sender, SILENT)
            raise CannotObserve(f"{sender} didn't send the probe: {why}")
        sent = last = time.monotonic()
        waiting = False
        self._progress(self.gathering, waiting)
        while sender not in self.gathering.missing:
            now = time.monotonic()
            until, waits = self._until(sent, last)
            if now >= until:
                return
            if waits != waiting:
                waiting = waits
                self._progress(self.gathering, waiting)
            if self._hear(min(until - now, _TURN_S)):
                last = time.monotonic()
                self._pick()
                self._progress(self.gathering, waiting)

    def _has_begun(self) -> bool:
        return self.gathering.sending is not None

    def _pick(self) -> None:
        """Tell the others which SYN it is, once the sender's collector has seen it."""
        if self._flow.proto != IPPROTO_TCP or self._picked is not None:
            return
        self._picked = self.gathering.seq()
        if self._picked is None:
            return
        for node in self.gathering.ready:
            if node != self.gathering.sender and node not in self.gathering.missing:
                self._order(node, Pick(self._picked))

    def _until(self, sent: float, last: float) -> tuple[float, bool]:
        """Say when to stop if nothing more comes, and whether a kernel's timer is waited for, on the monotonic clock."""
        if self.gathering.told:
            return last + QUIET_S, False
        if self._timer_decides():
            waits = time.monotonic() - sent > UNANSWERED_QUIET_S
            return sent + TIMER_S, waits
        if not self._expects_answer() or self._flow.proto == IPPROTO_UDP:
            return max(last, sent) + UNANSWERED_QUIET_S, False
        if time.monotonic() < sent + ANSWER_S:
            return sent + ANSWER_S, False
        return sent + TIMER_S, True  # something holds it: perhaps a neighbour that doesn't answer

    def _timer_decides(self) -> bool:
        return any(
            path is not None and path.reason == "NEIGH_FAILED"
            for branch in self._trace.branches
            for path in (branch.forward, branch.reply)
        )

    def _expects_answer(self) -> bool:
        return any(
            branch.reply is not None and branch.reply.disposition is Disposition.DELIVERED
            for branch in self._trace.branches
        )

    def _finish(self) -> None:
        """Have every collector remove what it set up, and hear what is left to say."""
        nodes = self.gathering.unfinished(self.gathering.ready)
        for node in nodes:
            mates = [one for one in self.gathering.ready if one != node and self._is_kernel_of(node, one)]
            self._order(node, Finish(self.gathering.sightings_of(mates)))
        self._hear_until(FINISH_S, lambda: not self.gathering.unfinished(nodes))
        for node in self.gathering.unfinished(nodes):
            self.gathering.lose(node, SILENT)

    def _is_kernel_of(self, node: str, other: str) -> bool:
        return bool(self._kernels.get(node)) and self._kernels.get(node) == self._kernels.get(other)
