"""A service's programming, policies, why a flow is allowed, previews and trace tables over the API, of a recorded cluster."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import msgspec
import pytest
from django.core.management import call_command
from django.test import Client
from django.utils import timezone

from netviz.core.check.problem import Problem as Found
from netviz.core.check.problem import Where
from netviz.core.model.addr import pack_ip
from netviz.core.model.kubernetes import ClusterPolicy
from netviz.core.state.node import NodeState
from netviz.core.state.objects import cluster_source
from netviz.ingest.memory_store import MemoryStore
from netviz.ingest.store import Position
from netviz.kubernetes import enforcement, programming
from netviz.kubernetes.proposed import read_policies
from netviz.problems.models import Problem
from tests.core.check.services.recorded import recorded as files
from tests.web.test_kubernetes_api import DATA, get, recorded, viewer

__all__ = ["recorded", "viewer"]

UNWATCHED = "the API of cluster c1 isn't watched"
CLOSED = b"""
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: closed, namespace: shop}
spec:
  podSelector: {matchLabels: {app: web}}
  ingress: []
"""


WIDE = b"""
apiVersion: policy.networking.k8s.io/v1beta1
kind: ClusterNetworkPolicy
metadata: {name: no-shop}
spec:
  tier: Admin
  priority: 5
  subject: {namespaces: {matchLabels: {kubernetes.io/metadata.name: shop}}}
  ingress: [{action: Deny, from: [{namespaces: {}}], protocols: [{tcp: {destinationPort: {number: 8080}}}]}]
"""


@pytest.fixture
def followed(recorded: MemoryStore, monkeypatch: pytest.MonkeyPatch) -> MemoryStore:
    """The recorded cluster with its rules, whose API somebody watches now; all is judged in one request."""
    monkeypatch.setattr(programming, "SPEND_S", 600.0)
    monkeypatch.setattr(enforcement, "SPEND_S", 600.0)
    recorded.put_bodies(files().bodies.values())
    heard(recorded, time.time())
    recorded.set_connected(cluster_source("c1"), True, time.time())
    return recorded


def change(store: MemoryStore, **sections: Any) -> None:
    """Change what the API says."""
    heard(store, time.time(), **sections)


def heard(store: MemoryStore, at_s: float, **sections: Any) -> None:
    """Have the watcher say all again at a time, with some sections otherwise."""
    state = store.cluster().clusters["c1"]
    objects = msgspec.structs.replace(state.objects, **sections)
    source = cluster_source("c1")
    position = store.position(source)
    assert position is not None
    store.replace(
        NodeState(source, status=state.status, objects=objects),
        Position(position.epoch, position.seq + 1),
        at_s,
    )


def test_nodes_that_do_as_the_api_asks_are_one_row_for_each_mode(
    followed: MemoryStore, viewer: Client
) -> None:
    found = get(viewer, "/api/services/shop/web")["programming"]
    assert (found["why"], found["nodes"], found["programmed"]) == (None, 3, 3)
    assert {(row["mode"], row["count"], row["state"]) for row in found["rows"]} == {
        ("iptables", 2, "programmed"),
        ("nftables", 1, "programmed"),
    }
    assert found["field"] == [{"zone": None, "runs": [["programmed", 3]]}]
    assert len(found["columns"]) == 4
    assert all(column["pod"].startswith("web-") for column in found["columns"])
    assert all(row["cells"] == ["programmed"] * 4 for row in found["rows"])


def test_what_differs_is_named_with_the_problem_that_says_since_when(
    followed: MemoryStore, viewer: Client
) -> None:
    objects = followed.cluster().clusters["c1"].objects
    key, one = next((key, one) for key, one in objects.endpoint_slices.items() if one.service == "web")
    left = tuple(end for end in one.endpoints if end.addresses[0] != pack_ip("10.244.1.5"))
    change(
        followed,
        endpoint_slices={**objects.endpoint_slices, key: msgspec.structs.replace(one, endpoints=left)},
    )
    problem = Found(
        "service-endpoint-stale",
        "shop/web:http:10.244.1.5:8080",
        "error",
        "breaks traffic",
        "n1: service shop/web leads to 10.244.1.5:8080",
        "",
        Where("n1"),
        also_at=(Where("n2"), Where("n3")),
    )
    now = timezone.now()
    row = Problem.objects.create(
        key=problem.key,
        kind=problem.kind,
        severity="error",
        harm=problem.harm,
        certainty="certain",
        headline=problem.headline,
        node="n1",
        body=msgspec.json.encode(problem).decode(),
        found_at=now,
        began_at=now,
    )
    found = get(viewer, "/api/services/shop/web")["programming"]
    assert found["programmed"] == 0
    assert found["field"] == [{"zone": None, "runs": [["stale", 3]]}]
    stale = next(i for i, column in enumerate(found["columns"]) if column["pod"] is None)
    for shown in found["rows"]:
        assert (shown["state"], shown["cells"][stale]) == ("differs", "stale")
        assert (shown["problem"], shown["since"]) == (str(row.pk), now.isoformat())
        assert "10.244.1.5:8080" in shown["differs"][0]


def test_a_node_that_is_not_heard_is_not_known_whatever_it_did_last(
    followed: MemoryStore, viewer: Client
) -> None:
    followed.set_connected("n2", False, time.time())
    found = get(viewer, "/api/services/shop/web")["programming"]
    assert found["field"][0]["runs"] == [["programmed", 1], ["unknown", 1], ["programmed", 1]]
    (lost,) = (row for row in found["rows"] if row["nodes"] == ["n2"])
    assert lost["state"] == "unknown"
    assert set(lost["cells"]) == {"unknown"}
    assert lost["differs"] == ["its collector isn't connected; its last state was as the API asks"]


def test_while_nobody_watches_the_api_nothing_is_judged(recorded: MemoryStore, viewer: Client) -> None:
    found = get(viewer, "/api/services/shop/web")["programming"]
    assert (found["why"], found["rows"]) == ("the API of cluster c1 isn't watched", [])
    listed = get(viewer, "/api/policies")["policies"]
    one = get(viewer, f"/api/policies/{listed[0]['namespace']}/{listed[0]['name']}")
    assert (one["enforced"]["why"], one["enforced"]["rows"]) == ("the API of cluster c1 isn't watched", [])


def test_policies_say_whom_they_select_and_what_may_come_and_go(
    followed: MemoryStore, viewer: Client
) -> None:
    objects = followed.cluster().clusters["c1"].objects
    listed = {f"{one['namespace']}/{one['name']}": one for one in get(viewer, "/api/policies")["policies"]}
    assert set(listed) == {"/".join(key) for key in objects.network_policies}
    assert get(viewer, "/api/policies?namespace=nosuch")["policies"] == []
    deny = listed["locked/default-deny"]
    assert (deny["selects"], deny["restricts"]) == ("all pods of locked", ["in", "out"])
    one = get(viewer, "/api/policies/locked/default-deny")
    assert one["pods"] == deny["pods"] == len(one["rows"]) > 0
    assert one["rules"] == []
    reached = one["matrix"]["in"]
    assert "locked/default-deny" in reached["policies"]
    by_name = {row["name"]: row for row in reached["rows"]}
    assert set(by_name["their own node"]["cells"]) == {"allowed"}
    assert "denied" in by_name["outside"]["cells"]
    assert reached["ports"][-1] is None
    for row in reached["rows"]:
        assert len(row["cells"]) == len(row["differs"]) == len(reached["ports"])
    assert viewer.get("/api/policies/locked/nosuch").status_code == 404


def test_policies_for_the_whole_cluster_have_what_others_have(
    followed: MemoryStore, viewer: Client, token: Any
) -> None:
    """List, page, matrix, whether nodes enforce it, why, search, the trace's words: of the same mechanism."""
    (wide,) = read_policies(WIDE)
    assert isinstance(wide, ClusterPolicy)
    change(followed, cluster_policies={wide.key: wide})
    first, *_ = get(viewer, "/api/policies")["policies"]
    assert (first["namespace"], first["kind"], first["name"]) == (None, "ClusterNetworkPolicy", "no-shop")
    assert (first["tier"], first["priority"], first["restricts"]) == ("Admin", 5, ["in"])
    assert first["selects"] == "all pods of namespaces with kubernetes.io/metadata.name=shop"
    assert get(viewer, "/api/policies?namespace=shop")["policies"] == []
    one = get(viewer, "/api/policies/ClusterNetworkPolicy/no-shop")
    assert one["pods"] == first["pods"] == len(one["rows"]) > 4
    assert [(rule["action"], rule["peers"], rule["ports"]) for rule in one["rules"]] == [
        ("Deny", "all pods of all namespaces", "TCP 8080")
    ]
    assert one["matrix"]["out"] is None
    ports = one["matrix"]["in"]["ports"]
    at = ports.index({"protocol": "TCP", "port": 8080})
    rows = {row["name"]: row for row in one["matrix"]["in"]["rows"]}
    assert rows["outside"]["cells"][at] == "allowed"
    denied = [row for row in rows.values() if row["pods"]]
    # A pod that is alone of its kind reaches itself.
    assert {row["cells"][at] for row in denied} <= {"denied", "mixed"}
    assert sum(row["cells"][at] == "denied" for row in denied) > 1
    assert sum("ClusterNetworkPolicy/no-shop" in row["by"] for row in denied) > 1
    assert "delivered" in {row["differs"][at] for row in denied}, "nobody enforces it there"
    assert {row["state"] for row in one["enforced"]["rows"]} == {"differs"}
    assert "ClusterNetworkPolicy/no-shop" in get(viewer, "/api/services/shop/web")["cluster_policies"]
    assert get(viewer, "/api/namespaces/shop")["cluster_policies"] == ["ClusterNetworkPolicy/no-shop"]
    hits = get(viewer, "/api/search?q=no-shop")["hits"]
    assert [(hit["type"], hit["key"]) for hit in hits] == [("policy", "ClusterNetworkPolicy/no-shop")]
    (why,) = get(viewer, "/api/why?from=10.244.1.5&to=10.244.1.6&dport=8080")["flows"]
    assert why["allowed"] is False
    rule = why["ingress"]["rule"]
    assert rule["text"] == "from all pods of all namespaces at TCP 8080"


def test_what_a_policy_for_the_whole_cluster_would_change(followed: MemoryStore, viewer: Client) -> None:
    found = viewer.post("/api/policy-preview", WIDE, "application/yaml").json()
    assert found["selected"] > 4
    assert {one["becomes"] for one in found["changes"]} == {"denied"}
    assert {tuple(one["by"]) for one in found["changes"]} == {("ClusterNetworkPolicy/no-shop",)}
    assert {port for one in found["changes"] for port in one["ports"]} == {"TCP 8080"}


def test_a_matrix_can_be_narrowed(followed: MemoryStore, viewer: Client) -> None:
    whole = get(viewer, "/api/policies/locked/default-deny")["matrix"]["in"]
    assert (whole["pods_left_off"], whole["peers_left_off"]) == (0, 0)
    found = get(viewer, "/api/policies/locked/default-deny?peers=app%3Dweb")["matrix"]["in"]
    assert all(row["name"].startswith("shop/web: web-") for row in found["rows"])
    assert sum(row["pods"] for row in found["rows"]) == 4
    found = get(viewer, "/api/policies/locked/default-deny?pods=nosuch")["matrix"]["in"]
    assert (found["pods"], found["rows"]) == (0, [])


def test_a_policy_is_enforced_node_by_node(followed: MemoryStore, viewer: Client) -> None:
    """kube-router enforces what comes in; what a policy of one direction lets through in the other one is told."""
    rows = get(viewer, "/api/policies/locked/default-deny")["enforced"]["rows"]
    assert {node: row["state"] for row in rows for node in row["nodes"]} == {
        "n1": "differs",
        "n2": "enforced",
    }
    rows = get(viewer, "/api/policies/locked/allow-dns-out")["enforced"]["rows"]
    (wrong,) = (row for row in rows if row["state"] == "differs")
    assert wrong["nodes"] == ["n1"]
    assert "is denied, and delivered" in wrong["said"][0]
    matrix = get(viewer, "/api/policies/locked/allow-dns-out")["matrix"]["out"]
    assert any("delivered" in row["differs"] for row in matrix["rows"])


def test_why_names_the_policies_and_the_rule(followed: MemoryStore, viewer: Client) -> None:
    objects = followed.cluster().clusters["c1"].objects
    vault = next(pod for pod in objects.kube_pods.values() if pod.namespace == "locked" and pod.ips)
    web = next(pod for pod in objects.kube_pods.values() if pod.labels.get("app") == "web" and pod.ips)
    asked = f"/api/why?from=shop/{web.name}&to=locked/{vault.name}&dport=9999"
    (one,) = get(viewer, asked)["flows"]
    assert one["allowed"] is False
    assert one["sentence"].startswith("Denied: polic")
    assert "locked/default-deny" in one["ingress"]["policies"]
    (free,) = get(viewer, f"/api/why?from=locked/{vault.name}&to=locked/{vault.name}")["flows"]
    assert free["allowed"] is True
    each = get(viewer, f"/api/why?from=locked/{vault.name}&to=svc/shop/web")["flows"]
    assert len(each) == 4
    assert viewer.get("/api/why?from=nosuch&to=nosuch").status_code == 400
    assert viewer.get("/api/why?from=a&to=b&dport=x").status_code == 400


def test_the_sentence_of_a_trace_that_a_policy_denies_names_it(followed: MemoryStore, token: Any) -> None:
    objects = followed.cluster().clusters["c1"].objects
    vault = next(pod for pod in objects.kube_pods.values() if pod.namespace == "locked" and pod.ips)
    web = next(pod for pod in objects.kube_pods.values() if pod.labels.get("app") == "web" and pod.ips)
    operator = Client(headers={"Authorization": f"Bearer {token('operator')}"})
    body = {"from": f"shop/{web.name}", "to": f"locked/{vault.name}", "dport": 9999}
    trace = operator.post("/api/traces", json.dumps(body), "application/json").json()["trace"]
    assert trace["policy"]["allowed"] is False
    assert trace["headline"].startswith("Polic")
    assert "locked/default-deny" in trace["headline"]
    assert f"locked/{vault.name}" in trace["headline"]


def test_while_the_api_is_not_followed_a_trace_is_not_sure_of_the_policies(
    followed: MemoryStore, token: Any
) -> None:
    objects = followed.cluster().clusters["c1"].objects
    vault = next(pod for pod in objects.kube_pods.values() if pod.namespace == "locked" and pod.ips)
    web = next(pod for pod in objects.kube_pods.values() if pod.labels.get("app") == "web" and pod.ips)
    operator = Client(headers={"Authorization": f"Bearer {token('operator')}"})
    body = json.dumps({"from": f"shop/{web.name}", "to": f"locked/{vault.name}", "dport": 9999})

    def traced() -> Any:
        return operator.post("/api/traces", body, "application/json").json()["trace"]

    source = cluster_source("c1")
    before = traced()
    assert UNWATCHED not in before["policy"]["unsure"]
    followed.set_connected(source, False, time.time())
    after = traced()
    assert UNWATCHED in after["policy"]["unsure"]
    assert f"(not sure of the policies: {UNWATCHED})" in after["headline"]
    table = operator.post(
        "/api/trace-tables",
        json.dumps({"from": "deploy/shop/web", "to": f"locked/{vault.name}", "dport": 9999}),
        "application/json",
    ).json()
    assert UNWATCHED in table["unsure"]
    followed.set_connected(source, True, time.time())
    assert traced()["headline"] == before["headline"]
    heard(followed, time.time() - 600)
    after = traced()
    assert "cluster c1: its watcher is silent or behind" in after["policy"]["unsure"][0]
    assert "its watcher is silent or behind" in after["headline"]


def test_what_a_policy_would_change_is_told_and_nothing_is_applied(
    followed: MemoryStore, viewer: Client
) -> None:
    answer = viewer.post("/api/policy-preview", CLOSED, "application/yaml")
    assert answer.status_code == 200, answer.content
    found = answer.json()
    assert found["selected"] == 4
    assert found["changes"]
    assert {one["becomes"] for one in found["changes"]} == {"denied"}
    assert {one["to"] for one in found["changes"]} == {"shop/web"}
    assert any(one["from_pods"] for one in found["changes"])
    assert {port for one in found["changes"] for port in one["ports"]} == {"every port"}
    assert all(one["by"] == ["shop/closed"] for one in found["changes"])
    assert "shop/closed" not in {
        f"{p['namespace']}/{p['name']}" for p in get(viewer, "/api/policies")["policies"]
    }
    for wrong, words in (
        (b"kind: Pod\nmetadata: {name: x}", "its kind is 'Pod'"),
        (b": [", "it is no YAML"),
        (b"", "there is no policy in it"),
        (b"kind: NetworkPolicy\nmetadata: {}", "metadata.name"),
        (b"a: &x [1]\nb: [*x, *x]", "anchors"),
        (b"kind: NetworkPolicy\nmetadata: {name: x}\nspec: {policyTypes: 5}", "policy x:"),
        (b"apiVersion: crd.antrea.io/v1beta1\nkind: ClusterNetworkPolicy\nmetadata: {name: x}", "apiVersion"),
        (WIDE.replace(b"action: Deny", b"action: Audit"), "action 'Audit' isn't known"),
    ):
        answer = viewer.post("/api/policy-preview", wrong, "application/yaml")
        assert answer.status_code == 400
        assert words in answer.json()["error"]


def test_a_workloads_trace_is_a_table_of_its_pods(followed: MemoryStore, token: Any) -> None:
    operator = Client(headers={"Authorization": f"Bearer {token('operator')}"})
    objects = followed.cluster().clusters["c1"].objects
    vault = next(pod for pod in objects.kube_pods.values() if pod.namespace == "locked" and pod.ips)
    body = {"from": "deploy/shop/web", "to": f"locked/{vault.name}", "dport": 9999}
    found = operator.post("/api/trace-tables", json.dumps(body), "application/json").json()
    assert found["left_off"] == 0
    assert len(found["rows"]) == 4
    assert {(row["outcome"], row["allowed"]) for row in found["rows"]} == {("broken", False)}
    assert all(row["from"].startswith("pod/shop/web-") for row in found["rows"])
    body = {"from": found["rows"][0]["from"].removeprefix("pod/"), "to": "deploy/shop/web"}
    again = operator.post("/api/trace-tables", json.dumps(body), "application/json").json()
    assert len(again["rows"]) == 3, "none to itself"
    body = {"from": "ns/locked", "to": "svc/shop/web"}
    found = operator.post("/api/trace-tables", json.dumps(body), "application/json").json()
    assert len(found["rows"]) == sum(pod.namespace == "locked" for pod in objects.kube_pods.values())
    answer = operator.post(
        "/api/trace-tables", json.dumps({"from": "ns/nosuch", "to": "x"}), "application/json"
    )
    assert answer.status_code == 400


def test_the_commands_say_the_same_from_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    states = [word for path in sorted((DATA / "before").glob("*.nvz")) for word in ("--state", str(path))]
    files = [*states, "--objects", str(DATA / "before")]
    call_command("trace", *files, "--from", "deploy/shop/web", "--to", "svc/shop/web", "--json")
    assert len(json.loads(capsys.readouterr().out)["rows"]) == 4
    call_command("trace", *files, "--from", "deploy/shop/web", "--to", "svc/shop/web")
    assert capsys.readouterr().out.count("good ") == 4
    (tmp_path / "closed.yaml").write_bytes(CLOSED)
    call_command("policy", *files, "--policy", str(tmp_path / "closed.yaml"))
    said = capsys.readouterr().out
    assert "4 pods selected. Nothing was applied." in said
    assert said.count("Not sure: ") == 1
    assert "Not sure: policies for the whole cluster are taken to be none" in said
    assert "denied" in said
    with pytest.raises(SystemExit) as end:
        call_command("policy", *files)
    assert end.value.code == 2


def test_what_is_said_without_a_list_of_policies_is_not_sure(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Lists that aren't there are no proof that nothing is denied."""
    states = [word for path in sorted((DATA / "before").glob("*.nvz")) for word in ("--state", str(path))]
    for path in (DATA / "before").glob("*.json*"):
        if "networkpolicies" not in path.name:
            (tmp_path / path.name).write_bytes(path.read_bytes())
    files = [*states, "--objects", str(tmp_path)]
    call_command("policy", *files, "--from", "10.244.1.5", "--to", "10.244.1.6")
    said = capsys.readouterr().out
    assert said.startswith("Not sure: cluster default: network_policies: no list of networkpolicies.\n")


def test_of_an_api_that_nobody_watches_nothing_is_sure(followed: MemoryStore, viewer: Client) -> None:
    asked = "/api/why?from=10.244.1.5&to=10.244.1.6"
    assert UNWATCHED not in get(viewer, asked)["unsure"]
    followed.set_connected(cluster_source("c1"), False, time.time())
    assert UNWATCHED in get(viewer, asked)["unsure"]
    found = viewer.post("/api/policy-preview", CLOSED, "application/yaml").json()
    assert UNWATCHED in found["unsure"]
