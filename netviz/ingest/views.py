"""A node's whole state as a file, for `manage.py trace`, support cases and comparisons."""

from __future__ import annotations

import time

from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.views.decorators.http import require_GET

from netviz.core.model.netfilter import Body
from netviz.core.state.node import BODY_SECTIONS, ClusterState, NodeState
from netviz.core.wire.nvz import dump_nvz
from netviz.ingest.live_store import get_store
from netviz.inventory.access import READ, require_scope


def _bodies(cluster: ClusterState, state: NodeState) -> list[Body]:
    digests = {
        record.body
        for ns in state.netns.values()
        for section in BODY_SECTIONS
        for record in getattr(ns, section).values()
        if record.body
    }
    return [cluster.bodies[digest] for digest in sorted(digests) if digest in cluster.bodies]


@require_GET
@require_scope(READ)
def node_state(request: HttpRequest, name: str) -> HttpResponseBase:
    """GET /api/nodes/<name>/state: the `.nvz` file of the node as the server holds it now."""
    cluster = get_store().cluster()
    state = cluster.nodes.get(name)
    if state is None:
        return JsonResponse({"error": f"no state of a node {name!r} is held"}, status=404)
    response = HttpResponse(
        dump_nvz(state, _bodies(cluster, state), time.time()), content_type="application/octet-stream"
    )
    response["Content-Disposition"] = f'attachment; filename="{name}.nvz"'
    return response
