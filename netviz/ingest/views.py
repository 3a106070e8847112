"""A node's whole state as a file, for `manage.py trace`, support cases and comparisons."""

from __future__ import annotations

import time

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.views.decorators.http import require_GET

from netviz.core.wire.nvz import dump_node
from netviz.ingest.live_store import get_store
from netviz.inventory.access import READ, require_scope


@require_GET
@require_scope(READ)
def node_state(request: HttpRequest, name: str) -> HttpResponseBase:
    """GET /api/nodes/<name>/state: the `.nvz` file of the node as the server holds it now."""
    cluster = get_store().cluster()
    if name not in cluster.nodes:
        return JsonResponse({"error": f"no state of a node {name!r} is held"}, status=404)
    response = HttpResponse(dump_node(cluster, name, time.time()), content_type="application/octet-stream")
    response["Content-Disposition"] = f'attachment; filename="{name}.nvz"'
    return response
