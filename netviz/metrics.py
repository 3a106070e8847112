"""What Prometheus reads: taken at the moment it asks from the store, the feed and the database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress

from django.db.models import Count, F, Sum
from prometheus_client import CollectorRegistry, PlatformCollector, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric, SummaryMetricFamily
from prometheus_client.registry import Collector

from netviz.core.sim.trace import Disposition
from netviz.ingest.faults import faults
from netviz.ingest.live_store import get_store
from netviz.inventory.logins import LOGINS, TOKENS
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


REGISTRY = CollectorRegistry()
ProcessCollector(registry=REGISTRY)
PlatformCollector(registry=REGISTRY)
REGISTRY.register(LiveMetrics())
REGISTRY.register(TraceMetrics())
REGISTRY.register(LOGINS)
REGISTRY.register(TOKENS)
