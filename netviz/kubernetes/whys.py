"""Why policies allow or deny a flow between two ends, in the words that traces take; nothing is traced."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from netviz.core.intent.parties import PROTOCOL_NAMES, party_at
from netviz.core.intent.why import why_json
from netviz.core.sim.services import service_at, slices_of
from netviz.core.state.node import ClusterState
from netviz.core.state.objects import Objects
from netviz.tracing.apis import Api, doubts
from netviz.tracing.predict import CannotTrace, resolve
from netviz.tracing.request import TraceRequest
from netviz.tracing.states import View

MOST_ENDPOINTS = 20
NO_POLICIES = "the Kubernetes API's policies and pods aren't known: no watcher has sent them, and no file has them (--objects DIR)"


def why_of(request: TraceRequest, view: View, apis: Sequence[Api]) -> dict[str, Any]:
    """Say of a flow, or of that to each endpoint of a service, whether policies allow it and why. Raises: CannotTrace."""
    flow = resolve(request, view).flow
    if not apis:
        raise CannotTrace(NO_POLICIES)
    objects = apis[0].state.objects
    protocol = PROTOCOL_NAMES.get(flow.proto, str(flow.proto))
    source = party_at(view.cluster, objects, flow.src)
    ends = _ends(view.cluster, objects, flow.dst, flow.proto, flow.dport or 0)
    targets = [(party_at(view.cluster, objects, addr), port) for addr, port in ends[:MOST_ENDPOINTS]]
    found = [why_json(objects, source, target, protocol, port) for target, port in targets]
    if not found:
        raise CannotTrace(
            "the service has no ready endpoint of this address family: there is no pod that policies could decide for"
        )
    return {
        "flows": found,
        "left_off": max(0, len(ends) - MOST_ENDPOINTS),
        "unsure": doubts(
            apis[0], any(one.pod is not None for one in (source, *(party for party, _ in targets)))
        ),
    }


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
