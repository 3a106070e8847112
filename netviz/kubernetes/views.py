"""Services, workloads and namespaces: what the API has of them, and where it is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any

import msgspec
from django.http import HttpRequest, HttpResponse, HttpResponseBase

from netviz.core.intent.parties import policies_of
from netviz.core.intent.preview import changes_any, preview, preview_json
from netviz.core.intent.subjects import counts, every_policy, home_of, policy_at
from netviz.core.model.kubernetes import ClusterPolicy, KubePod
from netviz.core.sim.meaning import WORKLOADS
from netviz.core.sim.services import slices_of
from netviz.core.state.naming import ENDED
from netviz.core.state.node import ClusterState
from netviz.core.state.objects import Objects
from netviz.core.state.pods import condition, workload_of
from netviz.ingest.live_store import get_store
from netviz.inventory.access import READ, require_scope
from netviz.inventory.answers import methods, refuse
from netviz.kubernetes import policies, services
from netviz.kubernetes.pods import Places, pod_row, selected
from netviz.kubernetes.programming import programming
from netviz.kubernetes.proposed import BadPolicy, read_policies
from netviz.kubernetes.whys import NO_POLICIES, why_of
from netviz.tracing.apis import Api, apis_in, doubts
from netviz.tracing.predict import CannotTrace
from netviz.tracing.request import TraceRequest
from netviz.tracing.states import View, live

_encode = msgspec.json.Encoder().encode
MOST_PODS = 1000
MOST = 10_000


def _answer(value: dict[str, Any]) -> HttpResponseBase:
    return HttpResponse(_encode(value), content_type="application/json")


def _clusters() -> tuple[ClusterState, Iterator[Objects]]:
    cluster = get_store().cluster()
    return cluster, (state.objects for state in cluster.clusters.values())


def _apis() -> tuple[View, list[Api]]:
    """The live state as traces see it, and each cluster's API."""
    view = live()
    return view, apis_in(view)


@methods("GET")
@require_scope(READ)
def service_list(request: HttpRequest) -> HttpResponseBase:
    """List the services, of ?namespace= where given."""
    namespace, (_, clusters) = request.GET.get("namespace"), _clusters()
    found: list[dict[str, Any]] = []
    for objects in clusters:
        slices = slices_of(objects.endpoint_slices)
        found += [
            services.summary(one, slices.get(one.key, []))
            for one in objects.services.values()
            if not namespace or one.namespace == namespace
        ]
    found.sort(key=lambda one: (one["namespace"], one["name"]))
    return _answer({"services": found[:MOST], "left_off": max(0, len(found) - MOST)})


@methods("GET")
@require_scope(READ)
def service(request: HttpRequest, namespace: str, name: str) -> HttpResponseBase:
    """Answer with one service."""
    view, apis = _apis()
    for api in apis:
        if (found := api.state.objects.services.get((namespace, name))) is not None:
            return _answer(
                {
                    **services.detail(view.cluster, api.state.objects, found),
                    "may": {
                        "in": policies.matrix(
                            view.cluster,
                            api.state.objects,
                            selected(found.selector, api.state.objects.kube_pods.values(), namespace),
                            "ingress",
                            _narrow(request),
                        )
                    },
                    "programming": programming(view, api, found),
                }
            )
    return refuse(404, f"the API has no service {namespace}/{name}")


def _groups(objects: Objects) -> dict[tuple[str, str, str], list[KubePod]]:
    """The pods of each workload, but for those that ended: (kind, namespace, name) -> pods."""
    found: dict[tuple[str, str, str], list[KubePod]] = {}
    for pod in objects.kube_pods.values():
        if pod.phase not in ENDED and (made := workload_of(pod, objects.workloads)) is not None:
            found.setdefault((made[0], pod.namespace, made[1]), []).append(pod)
    return found


def _workload(key: tuple[str, str, str], pods: list[KubePod]) -> dict[str, Any]:
    kind, namespace, name = key
    return {
        "kind": kind,
        "namespace": namespace,
        "name": name,
        "pods": len(pods),
        "ready": sum(condition(pod.conditions, "Ready") is True for pod in pods),
        "nodes": len({pod.node for pod in pods if pod.node}),
    }


@methods("GET")
@require_scope(READ)
def workload_list(request: HttpRequest) -> HttpResponseBase:
    """List the workloads that have pods, of ?namespace= where given."""
    namespace, (_, clusters) = request.GET.get("namespace"), _clusters()
    found = [
        _workload(key, pods)
        for objects in clusters
        for key, pods in _groups(objects).items()
        if not namespace or key[1] == namespace
    ]
    found.sort(key=lambda one: (one["namespace"], one["name"], one["kind"]))
    return _answer({"workloads": found[:MOST], "left_off": max(0, len(found) - MOST)})


@methods("GET")
@require_scope(READ)
def workload(request: HttpRequest, kind: str, namespace: str, name: str) -> HttpResponseBase:
    """Answer with one workload and its pods."""
    kind = WORKLOADS.get(kind.lower(), kind)
    cluster, clusters = _clusters()
    for objects in clusters:
        pods = _groups(objects).get((kind, namespace, name))
        if pods is not None:
            chosen = [
                f"{one.namespace}/{one.name}"
                for one in objects.services.values()
                if selected(one.selector, pods, one.namespace)
            ]
            return _answer(
                {
                    **_workload((kind, namespace, name), pods),
                    "services": sorted(chosen),
                    **_rows(cluster, objects, pods),
                }
            )
    return refuse(404, f"the API has no pod of {kind} {namespace}/{name}")


def _rows(cluster: ClusterState, objects: Objects, pods: list[KubePod]) -> dict[str, Any]:
    places, pods = Places(cluster), sorted(pods, key=lambda pod: pod.name)
    return {
        "rows": [pod_row(pod, objects, places) for pod in pods[:MOST_PODS]],
        "left_off": max(0, len(pods) - MOST_PODS),
    }


@methods("GET")
@require_scope(READ)
def namespace_list(request: HttpRequest) -> HttpResponseBase:
    """List Kubernetes' namespaces."""
    _, clusters = _clusters()
    found = []
    for objects in clusters:
        pods, of_services, of_policies = (
            Counter(key[0] for key in records)
            for records in (objects.kube_pods, objects.services, objects.network_policies)
        )
        for name in {**objects.kube_namespaces, **pods}:
            known = objects.kube_namespaces.get(name)
            found.append(
                {
                    "name": name,
                    "deleting": known is not None and known.deleting,
                    "labels": dict(known.labels) if known is not None else {},
                    "pods": pods[name],
                    "services": of_services[name],
                    "policies": of_policies[name],
                }
            )
    return _answer({"namespaces": sorted(found, key=lambda one: str(one["name"]))})


@methods("GET")
@require_scope(READ)
def namespace(request: HttpRequest, name: str) -> HttpResponseBase:
    """Answer with one of Kubernetes' namespaces: its workloads, services, policies and pods."""
    cluster, clusters = _clusters()
    for objects in clusters:
        pods = [pod for pod in objects.kube_pods.values() if pod.namespace == name and pod.phase not in ENDED]
        if name not in objects.kube_namespaces and not pods:
            continue
        slices = slices_of(objects.endpoint_slices)
        known = objects.kube_namespaces.get(name)
        return _answer(
            {
                "name": name,
                "labels": dict(known.labels) if known is not None else {},
                "workloads": sorted(
                    (_workload(key, mine) for key, mine in _groups(objects).items() if key[1] == name),
                    key=lambda one: (one["name"], one["kind"]),
                ),
                "services": sorted(
                    (
                        services.summary(one, slices.get(one.key, []))
                        for one in objects.services.values()
                        if one.namespace == name
                    ),
                    key=lambda one: str(one["name"]),
                ),
                "policies": sorted(key[1] for key in objects.network_policies if key[0] == name),
                "cluster_policies": [
                    "/".join(one.key)
                    for one in policies_of(objects).selecting(pods)
                    if isinstance(one, ClusterPolicy)
                ],
                **_rows(cluster, objects, pods),
            }
        )
    return refuse(404, f"the API has no namespace {name}")


@methods("GET")
@require_scope(READ)
def policy_list(request: HttpRequest) -> HttpResponseBase:
    """List the policies, those for the whole cluster first; with ?namespace= those of one namespace alone."""
    namespace, (_, clusters) = request.GET.get("namespace"), _clusters()
    found = []
    for objects in clusters:
        pods = counts(objects)
        found += [
            policies.summary(one, pods[one.key])
            for one in every_policy(objects)
            if not namespace or home_of(one) == namespace
        ]
    found.sort(key=lambda one: (one["namespace"] or "", one["kind"], one["name"]))
    return _answer({"policies": found[:MOST], "left_off": max(0, len(found) - MOST)})


@methods("GET")
@require_scope(READ)
def policy(request: HttpRequest, home: str, name: str) -> HttpResponseBase:
    """Answer with one policy: `home` is its namespace, or the kind of one for the whole cluster."""
    view, apis = _apis()
    for api in apis:
        if (found := policy_at(api.state.objects, (home, name))) is not None:
            return _answer(policies.detail(view, api, found, _narrow(request)))
    return refuse(404, f"the API has no policy {home}/{name}")


def _narrow(request: HttpRequest) -> policies.Narrow:
    """What matrices are narrowed to: ?pods= and ?peers=."""
    return policies.Narrow(request.GET.get("pods", ""), request.GET.get("peers", ""))


@methods("POST")
@require_scope(READ)
def policy_preview(request: HttpRequest) -> HttpResponseBase:
    """Answer what the policies in the body, as YAML or JSON, would change; nothing is applied."""
    view, apis = _apis()
    if not apis:
        return refuse(400, NO_POLICIES)
    try:
        proposed = read_policies(request.body)
    except BadPolicy as err:
        return refuse(400, str(err))
    found = preview(view.cluster, apis[0].state.objects, proposed)
    return _answer(dict(preview_json(found, doubts(apis[0], changes_any(found)))))


@methods("GET")
@require_scope(READ)
def why(request: HttpRequest) -> HttpResponseBase:
    """Answer why policies allow or deny a flow: ?from=, ?to=, ?proto= and ?dport= as a trace takes them."""
    asked = {name: request.GET[name] for name in ("from", "to", "proto", "dport") if request.GET.get(name)}
    try:
        return _answer(why_of(msgspec.convert(asked, TraceRequest, strict=False), *_apis()))
    except (CannotTrace, msgspec.ValidationError) as err:
        return refuse(400, str(err))
