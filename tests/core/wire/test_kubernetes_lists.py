"""A real cluster's lists and watches, recorded, as netviz's records."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.netns import Pod
from netviz.core.state.delta import apply
from netviz.core.state.door import fold, sift
from netviz.core.state.naming import named
from netviz.core.state.node import ClusterState, NodeState
from netviz.core.wire.kubernetes.api import RESOURCES, ApiError, Resource, error
from netviz.core.wire.kubernetes.files import read_lists
from netviz.core.wire.kubernetes.listing import Listing
from netviz.core.wire.kubernetes.pending import Pending
from netviz.core.wire.nvz import NvzError, load_nvz

DATA = Path(__file__).resolve().parents[2] / "data" / "kubernetes"
KINDS: dict[str, Resource] = {one.name: one for one in RESOURCES}


def unpacked(path: Path) -> bytes:
    return gzip.decompress(path.read_bytes())


def lists(moment: str) -> NodeState:
    return read_lists(
        "c1", [(str(path), unpacked(path)) for path in sorted((DATA / moment).glob("*.json.gz"))]
    )


def events(name: str) -> list[bytes]:
    return unpacked(DATA / "watch" / f"{name}.jsonl.gz").splitlines()


def after(state: NodeState, resource: Resource, *lines: bytes) -> NodeState:
    pending = Pending()
    for line in lines:
        pending.add(resource, resource.event(line))
    return fold(state, sift(pending.take(state)))


def nodes(moment: str) -> dict[str, NodeState]:
    return {name: load_nvz((DATA / moment / f"{name}.nvz").read_bytes())[1] for name in ("n1", "n2", "n3")}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_every_object_of_the_recorded_lists_is_a_record(moment: str) -> None:
    objects = lists(moment).objects
    assert not objects.refused
    for name, resource in KINDS.items():
        path = DATA / moment / f"{name}.json.gz"
        items = json.loads(unpacked(path))["items"] if path.exists() else []
        told = {(one["metadata"].get("namespace"), one["metadata"]["name"]) for one in items}
        held = [one for key, one in getattr(objects, resource.section).items() if resource.owns(key)]
        assert {(getattr(one, "namespace", None), one.name) for one in held} == told
        assert bool(told) == (name != "jobs" and not resource.versions)


def test_records_say_what_the_objects_say() -> None:
    objects = lists("before").objects
    pod = next(
        pod for (_, name), pod in objects.kube_pods.items() if name.startswith("vault-") and pod.node == "n1"
    )
    assert (pod.ips, pod.phase, pod.labels["app"]) == ((pack_ip("10.244.1.7"),), "Running", "vault")
    assert pod.owner is not None
    assert pod.created_s == 1796029845.0
    assert {(one.type, one.status) for one in pod.conditions} >= {("Ready", "True")}
    owner = objects.workloads[(pod.owner.kind, pod.namespace, pod.owner.name)].owner
    assert owner is not None
    assert (owner.kind, owner.name) == ("Deployment", "vault")
    services = {name: one for (space, name), one in objects.services.items() if space == "shop"}
    assert services["web-headless"].cluster_ips == ()
    assert services["web-ext"].external_ips == (pack_ip("10.99.0.200"),)
    assert services["web-sticky"].affinity_s == 10800
    assert services["web-itp"].internal_local
    assert not services["web-np"].external_local
    assert (services["web-lb"].external_local, services["web-lb"].health_port) == (True, 31312)
    assert [str(one.addr.hex()) for one in services["lbrange"].source_ranges] == ["0af40100"]
    denied = objects.network_policies[("locked", "default-deny")]
    assert (denied.restricts_ingress, denied.restricts_egress, denied.ingress, denied.egress) == (
        True,
        True,
        (),
        (),
    )
    out = objects.network_policies[("locked", "allow-dns-out")]
    assert (out.restricts_ingress, out.restricts_egress) == (False, True)


@pytest.mark.parametrize(
    ("states", "why"),
    [
        ([{"waiting": {"reason": "ImagePullBackOff"}}], "c0: ImagePullBackOff"),
        ([{"running": {}}, {"waiting": {}}], "c1: waiting"),
        ([{"terminated": {"reason": "Completed", "exitCode": 0}}, {"running": {}}], ""),
        ([{"terminated": {"reason": "OOMKilled", "exitCode": 137}}], "c0: OOMKilled"),
    ],
)
def test_a_pod_that_cant_start_says_why(states: list[Any], why: str) -> None:
    found = [{"name": f"c{number}", "state": state} for number, state in enumerate(states)]
    state = listed("Pod", {**POLICY, "status": {"containerStatuses": found}})
    assert state.objects.kube_pods[("a", "p")].waits == why


def test_a_section_without_its_list_is_not_whole() -> None:
    status = lists("before").status
    assert not status["workloads"].whole
    assert status["workloads"].reason == "no list of jobs"
    assert all(one.whole for section, one in status.items() if section != "workloads")


@pytest.mark.parametrize("name", ["pods", "services", "endpointslices", "replicasets"])
def test_the_recorded_watch_leads_from_one_list_to_the_other(name: str) -> None:
    resource, state, end = KINDS[name], lists("before"), lists("after")
    version = ""
    for line in events(name):
        event = resource.event(line)
        assert event.unread is None
        version = event.version
        state = after(state, resource, line)
    assert int(version) > 0
    assert getattr(state.objects, resource.section) == getattr(end.objects, resource.section)


def test_a_list_drops_what_is_gone_and_keeps_what_is_the_same() -> None:
    state, end = lists("before"), lists("after")
    for name, resource in KINDS.items():
        path = DATA / "after" / f"{name}.json.gz"
        if path.exists():
            listing = Listing(resource, state)
            listing.add(resource.page(unpacked(path)))
            state = apply(state, listing.delta())
    assert state.objects == end.objects
    again = Listing(KINDS["pods"], state)
    again.add(KINDS["pods"].page(unpacked(DATA / "after" / "pods.json.gz")))
    assert again.delta().empty


def test_pages_make_the_list() -> None:
    resource = KINDS["pods"]
    first, last = (resource.page(unpacked(DATA / "watch" / f"page{number}.json.gz")) for number in (1, 2))
    assert first.more
    assert last.more != first.more
    assert first.version == last.version
    listing = Listing(resource, NodeState("cluster/c1"))
    listing.add(first)
    listing.add(last)
    pods = apply(NodeState("cluster/c1"), listing.delta()).objects.kube_pods
    assert len(pods) == len(first.records) + len(last.records) > len(first.records) > 0
    partial = read_lists("c1", [("page1.json", unpacked(DATA / "watch" / "page1.json.gz"))])
    assert partial.status["kube_pods"].reason == "the list of pods goes on"


def test_the_apis_refusal_is_read() -> None:
    words = error(unpacked(DATA / "watch" / "unauthorized.json.gz"), 401)
    assert (words.code, str(words)) == (401, "Unauthorized")
    assert (error(b"<html>", 502).code, str(error(b"<html>", 502))) == (502, "HTTP status 502")


def listed(kind: str, *items: dict[str, Any]) -> NodeState:
    return read_lists("c1", [(f"{kind}.json", json.dumps({"kind": f"{kind}List", "items": items}).encode())])


POLICY = {"metadata": {"name": "p", "namespace": "a"}}
PEER_OF_THE_FUTURE = {"ingress": [{"from": [{"galaxySelector": {}}]}]}


@pytest.mark.parametrize(
    ("kind", "wrong", "why"),
    [
        ("NetworkPolicy", {**POLICY, "spec": PEER_OF_THE_FUTURE}, "a peer of a kind that isn't known"),
        ("NetworkPolicy", {**POLICY, "spec": {"policyTypes": ["Sideways"]}}, "Sideways isn't known"),
        ("Service", {**POLICY, "spec": {"type": "Teleport"}}, "type"),
        ("Service", {**POLICY, "spec": {"clusterIPs": ["10.0.0.1.1"]}}, "10.0.0.1.1"),
        ("Service", {**POLICY, "spec": {"ports": [{"port": 70000}]}}, "port"),
        ("Pod", {**POLICY, "status": {"conditions": [{"type": "Ready", "status": "Perhaps"}]}}, "status"),
        ("Pod", {"metadata": {**POLICY["metadata"], "creationTimestamp": "yesterday"}}, "yesterday"),
    ],
)
def test_an_object_that_cannot_be_used_is_left_out_and_named(kind: str, wrong: Any, why: str) -> None:
    right = {"metadata": {"name": "q", "namespace": "a"}}
    state = listed(kind, wrong, right)
    (section,) = {one.section for one in RESOURCES if one.kind == kind}
    assert list(getattr(state.objects, section)) == [("a", "q")]
    assert [(one.section, one.record) for one in state.objects.refused.values()] == [(section, "a,p")]
    assert why in next(iter(state.objects.refused.values())).reason
    assert not state.complete


def test_a_refusal_ends_when_its_object_is_gone_or_right() -> None:
    resource, state = (
        KINDS["networkpolicies"],
        listed("NetworkPolicy", {**POLICY, "spec": PEER_OF_THE_FUTURE}),
    )
    for line in ({"type": "DELETED", "object": POLICY}, {"type": "MODIFIED", "object": POLICY}):
        changed = after(state, resource, json.dumps(line).encode())
        assert not changed.objects.refused
    empty = Listing(resource, state)
    empty.add(resource.page(b'{"items": null}'))
    assert not fold(state, sift(empty.delta())).objects.refused


def test_what_an_object_says_besides_changes_nothing() -> None:
    strange = {
        **POLICY,
        "spec": {"podSelector": {"matchLabels": {"a": "b"}}, "newField": [{"x": 1}]},
        "extra": 7,
    }
    plain = {**POLICY, "spec": {"podSelector": {"matchLabels": {"a": "b"}}}}
    assert listed("NetworkPolicy", strange).objects == listed("NetworkPolicy", plain).objects


def test_defaults_are_the_apis() -> None:
    policy = listed("NetworkPolicy", {**POLICY, "spec": {"egress": [{}]}}).objects.network_policies[
        ("a", "p")
    ]
    assert (policy.restricts_ingress, policy.restricts_egress, len(policy.egress)) == (True, True, 1)
    slice_ = {**POLICY, "addressType": "IPv4", "endpoints": [{"addresses": ["10.0.0.1"]}], "ports": [{}]}
    made = listed("EndpointSlice", slice_).objects.endpoint_slices[("a", "p")]
    assert [(one.ready, one.serving, one.terminating) for one in made.endpoints] == [(True, True, False)]
    assert [(one.port, one.protocol) for one in made.ports] == [(0, "TCP")]


def test_kubectls_list_of_several_kinds_is_read() -> None:
    items = [{"kind": "Pod", **POLICY}, {"kind": "Service", **POLICY}, {"kind": "Secret", **POLICY}]
    objects = read_lists("c1", [("all.json", json.dumps({"kind": "List", "items": items}).encode())]).objects
    assert (list(objects.kube_pods), list(objects.services)) == ([("a", "p")], [("a", "p")])


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"kind": "Pod"}', b'{"kind": "PodList", "items": 1}'])
def test_what_is_no_list_is_bad_input(body: bytes) -> None:
    with pytest.raises((NvzError, ApiError), match="list of"):
        read_lists("c1", [("x.json", body)])


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b'{"type": "ADDED"}',
        b'{"type": "SHRUNK", "object": {}}',
        b'{"type": "DELETED", "object": {}}',
    ],
)
def test_what_is_no_event_is_told(line: bytes) -> None:
    with pytest.raises(ApiError):
        KINDS["pods"].event(line)


def test_an_expired_version_is_told_by_its_code() -> None:
    status = {
        "kind": "Status",
        "code": 410,
        "reason": "Expired",
        "message": "too old resource version: 1 (572)",
    }
    with pytest.raises(ApiError, match="too old") as raised:
        KINDS["pods"].event(json.dumps({"type": "ERROR", "object": status}).encode())
    assert raised.value.code == 410


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_pods_address_names_its_namespace_as_the_runtime_did(moment: str) -> None:
    """The names that containerd told are taken away; the API's lists give the same ones back."""
    told = nodes(moment)
    nameless = {
        name: msgspec.structs.replace(
            state,
            netns={
                key: msgspec.structs.replace(ns, netns=msgspec.structs.replace(ns.netns, pod=None))
                for key, ns in state.netns.items()
            },
        )
        for name, state in told.items()
    }
    found = named(ClusterState(nameless, clusters={"c1": lists(moment)}))

    def names(cluster: ClusterState) -> dict[Any, tuple[str, str, str] | None]:
        pods: dict[Any, Pod | None] = {
            k: ns.netns.pod for n in cluster.nodes.values() for k, ns in n.netns.items()
        }
        return {
            key: (pod.namespace, pod.name, pod.uid) if pod is not None else None for key, pod in pods.items()
        }

    assert names(found) == names(ClusterState(told))
    assert sum(one is not None for one in names(found).values()) >= 13
    assert {ns.netns.pod.source for n in found.nodes.values() for ns in n.netns.values() if ns.netns.pod} == {
        "api"
    }


def test_what_the_runtime_named_or_nothing_proves_stays() -> None:
    cluster = ClusterState(nodes("before"), clusters={"c1": lists("before")})
    assert {name: node.netns for name, node in named(cluster).nodes.items()} == {
        name: node.netns for name, node in cluster.nodes.items()
    }
    assert named(ClusterState(cluster.nodes)) == ClusterState(cluster.nodes)
    partial = read_lists("c1", [("page1.json", unpacked(DATA / "watch" / "page1.json.gz"))])
    nameless = ClusterState({"n1": NodeState("n1")}, clusters={"c1": partial})
    assert named(nameless).nodes["n1"].netns == {}
