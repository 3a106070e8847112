"""`GET /healthz` for probes, which have no login, and `GET /metrics` for Prometheus.

Health tells counts only. Metrics name nodes: they are for viewers, by login or API token, and for who
has NETVIZ_METRICS_TOKEN.
"""

from __future__ import annotations

import hmac
import logging
from typing import Any

from django.conf import settings
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from netviz.celery import app, in_process_worker
from netviz.ingest.faults import faults
from netviz.ingest.journal import journal
from netviz.ingest.live_store import get_store
from netviz.ingest.store import NodeRevision
from netviz.inventory.access import READ, require_scope
from netviz.inventory.answers import methods
from netviz.inventory.tokens import bearer_token
from netviz.metrics import REGISTRY
from netviz.parts import REDIS_AWAY, RETRY_AFTER_S, parts
from netviz.topology.live import get_topology

log = logging.getLogger("netviz.health")

WORKER_TIMEOUT_S = 1.0
NO_ANSWER = "does not answer"


def _nodes() -> list[NodeRevision] | None:
    """How fresh each node is; None when the store cannot say."""
    try:
        return list(get_store().node_revisions().values())
    except REDIS_AWAY as err:
        log.error("health: the live state store does not answer: %s", err)
        return None


def _worker() -> str:
    """Whether some worker takes tasks: the one in this process, or any that answers through Redis."""
    if not settings.REDIS_URL:
        return "ok" if in_process_worker.alive else "not running"
    if parts.redis.away:
        return "the task queue does not answer"
    try:
        answers = app.control.ping(timeout=WORKER_TIMEOUT_S, limit=1)
    except REDIS_AWAY as err:
        log.error("health: the task queue does not answer: %s", err)
        return "the task queue does not answer"
    return "ok" if answers else "none answers"


@methods("GET")
def healthz(request: HttpRequest) -> HttpResponseBase:
    """200 when everything works that the server needs, 503 otherwise; collectors are counted, not judged.

    A journal that cannot be written is told and not judged, either: a restart would lose the live state
    and give back no space on a full disk. Nor are nodes that aren't understood: a restart understands
    them no better; they are counted as far as a page, the API or the metrics have looked.
    """
    states = {"database": NO_ANSWER if parts.database.away else "ok"}
    if settings.REDIS_URL:
        states["redis"] = NO_ANSWER if parts.redis.away else "ok"
    nodes = _nodes()
    states["store"] = NO_ANSWER if nodes is None else "ok"
    states["worker"] = _worker()
    healthy = all(state == "ok" for state in states.values())
    body: dict[str, Any] = {"status": "ok" if healthy else "failing", **states}
    body["journal"] = "cannot be written" if journal.failing else "ok"
    body["nodes"] = {"not_understood": len(faults.standing())}
    if nodes is not None:
        body["topology"] = "cannot be projected" if get_topology().failing else "ok"
        body["collectors"] = {"connected": sum(node.connected for node in nodes), "known": len(nodes)}
    answer = JsonResponse(body, status=200 if healthy else 503)
    if not healthy:
        answer["Retry-After"] = str(RETRY_AFTER_S)
    return answer


@methods("GET")
def metrics(request: HttpRequest) -> HttpResponseBase:
    """Answer in Prometheus' text format."""
    wanted = settings.METRICS_TOKEN
    given = bearer_token(request.headers.get("Authorization", "")) or ""
    if wanted and hmac.compare_digest(given.encode(), wanted.encode()):
        return all_metrics(request)
    return require_scope(READ)(all_metrics)(request)


def all_metrics(request: HttpRequest) -> HttpResponseBase:
    """All metrics of this moment."""
    return HttpResponse(generate_latest(REGISTRY), content_type=CONTENT_TYPE_LATEST)
