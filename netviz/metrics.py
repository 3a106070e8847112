"""What Prometheus reads: taken at the moment it asks from the store, the feed and the database."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from typing import get_args

from django.db.models import Case, Count, F, Sum, Value, When
from django.utils import timezone
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from netviz.core.check.problem import Result
from netviz.core.sim.trace import Disposition
from netviz.ingest.faults import faults
from netviz.ingest.live_store import get_store
from netviz.inventory.logins import LOGINS, TOKENS
from netviz.kubernetes.delays import delays
from netviz.problems.checks import KINDS
from netviz.problems.models import ACKNOWLEDGED, MUTED, OPEN, Checking, Problem
from netviz.problems.overseer import overseer
from netviz.problems.shown import HARMS, STATES, checking_json, checking_row
from netviz.topology.feed import browsers
from netviz.topology.live import get_topology
from netviz.tracing.models import TraceRun


class LiveMetrics(Collector):
    """The live state, its collectors and the browsers that look at it."""

    def collect(self) -> Iterator[Metric]:
        """Read the store."""
        store, topology = get_store(), get_topology()
        with suppress(Exception):  # the topology logs it; without pages nobody else looks what is understood
            topology.advance()
        nodes, reports = store.node_revisions(), store.collectors()
        yield GaugeMetricFamily(
            "netviz_collectors_connected",
            "Collectors connected to this server.",
            value=sum(node.connected for node in nodes.values()),
        )
        yield CounterMetricFamily(
            "netviz_changes", "Changes to the live state that this process saw.", value=store.revision
        )
        yield GaugeMetricFamily(
            "netviz_topology_revision", "Revision of the graph shown.", value=topology.revision
        )
        yield GaugeMetricFamily("netviz_browsers", "Pages that watch the map.", value=browsers())
        buckets, sum_s = delays.histogram()
        yield HistogramMetricFamily(
            "netviz_service_programming_seconds",
            "From an EndpointSlice's change to a node's rules that do what it asks, as this server saw both.",
            buckets=buckets,
            sum_value=sum_s,
        )
        labels = ["node"]
        revisions = CounterMetricFamily("netviz_node_revision", "Changes of a node's state.", labels=labels)
        complete = GaugeMetricFamily("netviz_node_complete", "1 when all was read whole.", labels=labels)
        lag = GaugeMetricFamily(
            "netviz_collector_lag_seconds", "Age of the oldest change not sent yet.", labels=labels
        )
        lost = CounterMetricFamily(
            "netviz_collector_lost_events", "Kernel events lost, each followed by a re-read.", labels=labels
        )
        shed = CounterMetricFamily(
            "netviz_collector_shed_events", "Conntrack changes left out under load.", labels=labels
        )
        bad = CounterMetricFamily(
            "netviz_collector_bad_records",
            "Records of a collector that broke a bound and were left out.",
            labels=labels,
        )
        rss = GaugeMetricFamily("netviz_collector_resident_bytes", "Collector's memory.", labels=labels)
        broken = GaugeMetricFamily(
            "netviz_node_not_understood", "Parts of a node's state that the server fails at.", labels=labels
        )
        for name, parts in faults.standing().items():
            broken.add_metric([name], len(parts))
        for name, node in nodes.items():
            revisions.add_metric([name], node.revision)
            complete.add_metric([name], node.complete)
        for name, report in reports.items():
            lag.add_metric([name], report.status.lag_s)
            lost.add_metric([name], report.status.lost_events)
            shed.add_metric([name], report.status.shed_events)
            bad.add_metric([name], report.status.bad_records)
            rss.add_metric([name], report.status.rss_bytes)
        yield from (revisions, complete, broken, lag, lost, shed, bad, rss)


class TraceMetrics(Collector):
    """The traces that are kept, whichever process ran them."""

    def collect(self) -> Iterator[Metric]:
        """Read the database."""
        by_status = dict(TraceRun.objects.order_by().values_list("status").annotate(Count("pk")))
        waiting = GaugeMetricFamily("netviz_traces", "Traces kept, by status.", labels=["status"])
        for status in TraceRun.Status.values:
            waiting.add_metric([status], by_status.get(status, 0))
        done = TraceRun.objects.order_by().filter(status=TraceRun.Status.DONE)
        counted = {
            disposition: (count, took)
            for disposition, count, took in done.values_list("disposition").annotate(
                count=Count("pk"), took=Sum(F("finished_at") - F("started_at"))
            )
        }
        durations = SummaryMetricFamily(
            "netviz_trace_duration_seconds",
            "Time to work a kept trace out, by disposition.",
            labels=["disposition"],
        )
        for disposition in Disposition:
            count, took = counted.get(disposition.value, (0, None))
            durations.add_metric([disposition.value], count, took.total_seconds() if took else 0.0)
        yield from (waiting, durations)


AUDIT = (
    (
        "netviz_audited_pairs",
        "audited",
        "Random pairs of pods that were traced in full, to audit the check of all pairs.",
    ),
    (
        "netviz_audit_differences",
        "differed",
        "Audited pairs that the check of all pairs judged otherwise: its faults.",
    ),
)


class ProblemMetrics(Collector):
    """What is wrong, and how the checking is, whichever process judges. No label has a value that a cluster makes up."""

    def collect(self) -> Iterator[Metric]:
        """Read the database."""
        yield self._problems()
        row = checking_row()
        checking = checking_json(row, timezone.now())
        checks = GaugeMetricFamily("netviz_checks", "Checks, by how the last run ended.", labels=["result"])
        for result in get_args(Result):
            checks.add_metric([result], sum(one["result"] == result for one in checking["checks"]))
        states = GaugeMetricFamily(
            "netviz_checking", "1 for the state that the checking is in.", labels=["state"]
        )
        for one in STATES:
            states.add_metric([one], one == checking["state"])
        yield from (checks, states)
        for name, field, words in AUDIT:
            value = sum(one.get(field, 0) for one in checking["checks"])
            yield CounterMetricFamily(name, words, value=value)
        denied = sum(one.get("denied", 0) for one in checking["checks"])
        yield GaugeMetricFamily(
            "netviz_denied_pairs", "Ordered pairs of pods that a network policy denies.", value=denied
        )
        yield GaugeMetricFamily(
            "netviz_collectors_expected", "Nodes with an approved collector.", value=checking["expected"]
        )
        yield CounterMetricFamily(
            "netviz_checking_process_deaths",
            "Times that this server's checking process died.",
            value=overseer.deaths,
        )
        if row is not None:
            yield from self._run(row)

    def _problems(self) -> Metric:
        problems = GaugeMetricFamily(
            "netviz_problems",
            "Problems that the last judged state has, by kind, harm and what people decided.",
            labels=["kind", "harm", "state"],
        )
        state = Case(
            When(muted_until__gt=timezone.now(), then=Value(MUTED)),
            When(acknowledged_at=None, then=Value(OPEN)),
            default=Value(ACKNOWLEDGED),
        )
        rows = Problem.objects.filter(ended_at=None, gone_at=None).order_by().annotate(decided=state)
        counts: Counter[tuple[str, str, str]] = Counter()
        for kind, harm, decided, count in rows.values_list("kind", "harm", "decided").annotate(Count("pk")):
            known = (kind if kind in KINDS else "other", harm if harm in HARMS else "other", decided)
            counts[known] += count
        for labels, count in sorted(counts.items()):
            problems.add_metric(labels, count)
        return problems

    def _run(self, row: Checking) -> Iterator[Metric]:
        yield GaugeMetricFamily(
            "netviz_checking_round_seconds", "How long the last round took.", value=row.took_s
        )
        if row.judged_at is not None:
            yield GaugeMetricFamily(
                "netviz_checking_judged_timestamp_seconds",
                "When the state was taken that was judged last.",
                value=row.judged_at.timestamp(),
            )
        yield CounterMetricFamily(
            "netviz_webhook_alerts", "Alerts that the webhook's receiver took.", value=row.hook_sent
        )
        yield CounterMetricFamily(
            "netviz_webhook_failures",
            "Requests that the webhook's receiver didn't take.",
            value=row.hook_failures,
        )


REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
REGISTRY.register(LiveMetrics())
REGISTRY.register(TraceMetrics())
REGISTRY.register(ProblemMetrics())
REGISTRY.register(LOGINS)
REGISTRY.register(TOKENS)
