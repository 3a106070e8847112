"""Who isn't there yet: waits for an administrator, or was approved and never came. For the admin pages' head and the map's."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest, HttpResponseBase, JsonResponse

from netviz.inventory.access import ADMINISTRATOR, READ, may, require_scope
from netviz.inventory.answers import methods
from netviz.inventory.models import Collector
from netviz.inventory.service import waiting_collectors

MOST_NAMES = 20


def waiting(request: HttpRequest) -> dict[str, Any]:
    """Let the admin pages' templates say how many wait: `waiting_collectors`, counted when it is used."""
    user = getattr(request, "user", None)
    return {"waiting_collectors": lambda: waiting_collectors() if user and may(user, ADMINISTRATOR) else 0}


@methods("GET")
@require_scope(READ)
def waiting_view(request: HttpRequest) -> HttpResponseBase:
    """Answer with how many collectors wait for approval, for whom, and which approved ones have never connected."""
    known = Collector.objects.select_related("node", "cluster")
    waiting = known.filter(status=Collector.Status.ENROLLED)
    absent = known.filter(status=Collector.Status.APPROVED, last_seen_at=None, connected=False)
    return JsonResponse(
        {
            "waiting": waiting.count(),
            "absent": absent.count(),
            "collectors": [
                {
                    "node": one.node and one.node.name,
                    "cluster": one.cluster and one.cluster.name,
                    "status": one.status,
                }
                for one in (*waiting[:MOST_NAMES], *absent[:MOST_NAMES])
            ],
        }
    )
