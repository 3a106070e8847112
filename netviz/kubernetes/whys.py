"""Why policies allow or deny a flow between two ends, in the words that traces take; nothing is traced."""

from __future__ import annotations

from typing import Any

from netviz.core.intent.parties import PROTOCOL_NAMES, party_at
from netviz.core.intent.why import why_json
from netviz.core.sim.services import service_at, slices_of
from netviz.core.state.node import ClusterState
from netviz.core.state.objects import Objects
from netviz.tracing.predict import CannotTrace, resolve
from netviz.tracing.request import TraceRequest
from netviz.tracing.states import View

MOST_ENDPOINTS = 20


def why_of(request: TraceRequest, view: View) -> dict[str, Any]:
    """Say of a flow, or of that to each endpoint of a service, whether policies allow it and why. Raises: CannotTrace."""
    flow = resolve(request, view).flow
    objects = next((one.objects for one in view.cluster.clusters.values()), None)
    if objects is None:
        raise CannotTrace("no Kubernetes API is watched: policies aren't known")
    protocol = PROTOCOL_NAMES.get(flow.proto, str(flow.proto))
    source = party_at(view.cluster, objects, flow.src)
    ends = _ends(view.cluster, objects, flow.dst, flow.proto, flow.dport or 0)
    found = [
        why_json(objects, source, party_at(view.cluster, objects, addr), protocol, port)
        for addr, port in ends[:MOST_ENDPOINTS]
    ]
    if not found:
        raise CannotTrace("the service has no endpoint that is ready: no policy decides")
    return {"flows": found, "left_off": max(0, len(ends) - MOST_ENDPOINTS)}


def _ends(
    cluster: ClusterState, objects: Objects, addr: bytes, proto: int, port: int
) -> list[tuple[bytes, int]]:
    """Where a flow goes in the end: a service's ready endpoints, else the address itself."""
    service = service_at(cluster, addr, proto, port)
    if service is None or not service.has_port:
        return [(addr, port)]
    return sorted(
        {
            (ip, at.port)
            for one in slices_of(objects.endpoint_slices).get((service.namespace, service.name), [])
            for at in one.ports
            if at.name == service.port
            for end in one.endpoints
            if end.ready
            for ip in end.addresses
            if len(ip) == len(addr)
        }
    )
