"""Services in the lab: kube-proxy's rules in each mode, as recorded from a real one, and real packets over them."""

from __future__ import annotations

import json
import os
import socket
import struct
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lab import netns, visit
from lab.cluster import Cluster, ClusterSpec
from lab.kubernetes import proxy_iptables, proxy_nftables, shapes
from lab.kubernetes.dns import answer
from lab.kubernetes.ports import service_ports
from lab.reality import Probe, send_all
from lab.spec import LabError, SpecError
from lab.stack import wait_until
from lab.traffic import Traffic
from tests.live import recorded
from tests.live.kind_probes import PATIENCE_S, hold_services, service_probes
from tests.live.prediction import snapshot

pytestmark = pytest.mark.live
PODS, SERVICES = "10.244.0.0/16", "10.96.0.0/16"
UNORDERED = ("KUBE-SERVICES", "KUBE-NODEPORTS", "KUBE-EXTERNAL-SERVICES")


def test_rules_are_those_that_a_real_kube_proxy_wrote(tmp_path: Path) -> None:
    """From the recorded lists come the recorded rules: each chain, each rule, in both modes."""
    ports = service_ports(recorded.items("services"), recorded.items("endpointslices"), 4)
    with Cluster.up(ClusterSpec(f"t{os.getpid()}-kp", nodes=1, pods=0)) as cluster:
        root = cluster.nodes["node1"].root
        proxy_iptables.hook_in(root, 4)
        proxy_iptables.write(root, 4, "n1", "10.99.0.11", PODS, ports)
        proxy_nftables.write(root, 4, "n2", "10.99.0.12", PODS, SERVICES, ports)
        state = snapshot(cluster, tmp_path)
    made, n1, n2 = (recorded.chains(one) for one in (state, recorded.node("n1"), recorded.node("n2")))
    foreign = ("ROUTER", "NWPLCY", "POD-FW", "KUBELET", "HINT")
    compared = 0
    for key in {*made, *n1}:
        family, _, name = key
        if family == 2 and name.startswith("KUBE-") and not any(word in name for word in foreign):
            mine, real = made.get(key), n1.get(key)
            assert None not in (mine, real), key
            assert (sorted(mine or ()) == sorted(real or ())) if name in UNORDERED else mine == real, key
            compared += 1
    assert compared > 50
    own = {key: rules for key, rules in made.items() if key[1] == "kube-proxy"}
    assert own == {key: rules for key, rules in n2.items() if key[:2] == (2, "kube-proxy")}
    assert len(own) > 20
    real_sets = {key: found for key, found in recorded.sets(recorded.node("n2")).items() if key[0] == 2}
    assert {key: found for key, found in recorded.sets(state).items() if key[0] == 2} == real_sets


CASES = (("textbook", "nftables"), ("vxlan", "iptables"), ("routed", "both"))


@pytest.fixture(scope="module", params=CASES, ids="-".join)
def cluster(request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Two nodes with a pod of each role, and a service of each shape."""
    kind, proxy = request.param
    spec = ClusterSpec(f"t{os.getpid()}-{kind}", nodes=2, pods=5, kind=kind, services=10, proxy=proxy)
    with Cluster.up(spec) as made:
        yield made


def named(cluster: Cluster, name: str) -> dict[str, Any]:
    return next(found for found in cluster.state.services if found["metadata"]["name"] == name)["spec"]


def test_every_service(cluster: Cluster, tmp_path: Path) -> None:
    """From each node and a pod, to each address and node port: predicted, and as the service's shape asks."""
    compared = hold_services(cluster, tmp_path, service_probes(cluster, [*cluster.nodes, "web-1"]))
    by_dst: dict[str, Counter[str]] = {}
    for one in compared:
        by_dst.setdefault(one.probe.dst, Counter())[one.outcome.result] += 1
    nobody = named(cluster, "api-nobody")["clusterIPs"]
    for name in ("web", "api", "db", "cache", "web-external", "cache-two-ports"):
        for address in named(cluster, name)["clusterIPs"]:
            assert set(by_dst[address]) == {"delivered"}, (name, by_dst[address])
    assert set(by_dst[nobody[0]]) == {"refused"}


def test_a_clients_affinity_is_kept(cluster: Cluster) -> None:
    address = named(cluster, "db")["clusterIP"]
    wanted = [Probe("api-1", address, "tcp", 80)]
    for _ in range(8):
        assert send_all(cluster, wanted, timeout_s=PATIENCE_S)[0].result == "delivered"
    assert len(backends(cluster, "db")) == 1


def backends(cluster: Cluster, role: str) -> set[str]:
    """The pods of a role that api-1's connections to their service lead to."""
    flows = ["-s", cluster.address_of("api-1"), "-d", named(cluster, role)["clusterIP"]]
    listed = cluster.exec("node1", ["conntrack", "-L", *flows]).stdout
    addresses = {pod.ipv4: pod.name for pod in cluster.pods.values() if pod.labels.get("app") == role}
    return {name for address, name in addresses.items() if f"src={address} " in listed}


def ask(cluster: Cluster, name: str, kind: int, *, tcp: bool = False) -> tuple[int, list[str]]:
    """Ask the DNS service from web-1: the response code and the addresses."""
    address = named(cluster, "kube-dns")["clusterIP"]
    labels = b"".join(bytes([len(part)]) + part.encode() for part in name.split("."))
    question = struct.pack("!HHHHHH", 7, 0x0100, 1, 0, 0, 0) + labels + b"\0" + struct.pack("!HH", kind, 1)
    sort = socket.SOCK_STREAM if tcp else socket.SOCK_DGRAM
    with netns.open_socket(cluster.netns_of("web-1"), socket.AF_INET, sort) as sock:
        sock.settimeout(PATIENCE_S)
        sock.connect((address, 53))
        sock.sendall(len(question).to_bytes(2, "big") + question if tcp else question)
        said = sock.recv(4096)
    said = said[2:] if tcp else said
    count, size = int.from_bytes(said[6:8], "big"), 16 if kind == 28 else 4
    family = socket.AF_INET6 if kind == 28 else socket.AF_INET
    records = said[len(question) :]
    found = [records[n * (12 + size) + 12 :][:size] for n in range(count)]
    return said[3] & 15, [socket.inet_ntop(family, address) for address in found]


def test_names_are_answered(cluster: Cluster) -> None:
    for name in ("web", "api"):
        four, six = named(cluster, name)["clusterIPs"]
        for tcp in (False, True):
            assert ask(cluster, f"{name}.default.svc.cluster.local", 1, tcp=tcp) == (0, [four])
            assert ask(cluster, f"{name}.default.svc.cluster.local", 28, tcp=tcp) == (0, [six])
    headless = {cluster.address_of(f"db-{number}") for number in (1, 2)}
    assert set(ask(cluster, "db-headless.default.svc.cluster.local", 1)[1]) == headless
    assert ask(cluster, "nobody.default.svc.cluster.local", 1) == (3, [])
    assert ask(cluster, "example.com", 1) == (5, [])


def test_pods_look_around_as_in_a_real_cluster(cluster: Cluster) -> None:
    """`lab exec` resolves services' names in a pod, and shows a node its own processes."""

    def run(target: str, *argv: str) -> str:
        line = visit.command(cluster, target, argv)
        return subprocess.run(line, capture_output=True, text=True, check=True).stdout

    assert run("web-1", "getent", "ahostsv4", "api").startswith(named(cluster, "api")["clusterIP"])
    pid = cluster.pod("web-1").pause_pid
    assert cluster.address_of("web-1") in run("node1", "nsenter", "-t", str(pid), "-n", "ip", "addr")
    with pytest.raises(
        LabError, match=r"this machine has no nosuch \(Debian, Ubuntu: apt-get install nosuch\)"
    ):
        visit.command(cluster, "web-1", ["nosuch"])


def test_pods_make_some_traffic(cluster: Cluster) -> None:
    def seen() -> bool:
        flows = cluster.exec("node1", ["conntrack", "-L"]).stdout
        return "dport=53 " in flows and f"src={cluster.address_of('jobs-1')} " in flows

    cluster.exec("node1", ["conntrack", "-F"])
    with Traffic(cluster):
        wait_until(seen, 300, "the pods' traffic")


def test_what_is_no_question_is_not_answered(tmp_path: Path) -> None:
    assert answer(b"short", tmp_path) is None
    assert answer(struct.pack("!HHHHHH", 7, 0x8180, 1, 0, 0, 0) + b"\0\0\1\0\1", tmp_path) is None
    broken = answer(struct.pack("!HHHHHH", 7, 0, 1, 0, 0, 0) + b"\x20web", tmp_path)
    assert broken is not None
    assert broken[3] & 15 == 1


def items(cluster: Cluster, name: str) -> list[dict[str, Any]]:
    found = json.loads((cluster.directory / "objects" / f"{name}.json").read_text())
    assert found["kind"].endswith("List")
    items: list[dict[str, Any]] = found["items"]
    return items


def endpoints(cluster: Cluster, service: str) -> set[str]:
    return {
        address
        for one in items(cluster, "endpointslices")
        if one["metadata"]["labels"]["kubernetes.io/service-name"] == service and one["addressType"] == "IPv4"
        for endpoint in one["endpoints"]
        if endpoint["conditions"]["ready"]
        for address in endpoint["addresses"]
    }


def test_health_check_ports_say_how_many_endpoints_are_local(cluster: Cluster) -> None:
    port = named(cluster, "jobs")["healthCheckNodePort"]
    with netns.open_socket(cluster.netns_of("web-1"), socket.AF_INET, socket.SOCK_STREAM) as sock:
        sock.settimeout(PATIENCE_S)
        sock.connect((cluster.address_of("node2"), port))
        sock.sendall(b"GET /healthz HTTP/1.1\r\n\r\n")
        said = sock.recv(4096)
    assert said.startswith(b"HTTP/1.1 200 ")
    assert b'"localEndpoints": 1' in said


def test_the_lists_and_rules_follow_the_cluster(cluster: Cluster) -> None:
    """Pods and nodes that come and go are in the API's lists, and services lead to who is there."""
    before = endpoints(cluster, "web")
    assert before == {cluster.address_of("web-1"), cluster.address_of("web-2")}
    added = cluster.add_pod("node2", "web-7")
    assert endpoints(cluster, "web") == before | {added.ipv4}
    own = [pod for pod in items(cluster, "pods") if not pod["spec"].get("hostNetwork")]
    assert {pod["metadata"]["name"] for pod in own} == set(cluster.pods)
    cluster.remove_pod("web-7")
    cluster.remove_pod("web-1")
    assert endpoints(cluster, "web") == {cluster.address_of("web-2")}
    address = named(cluster, "web")["clusterIP"]
    wanted = [Probe("api-1", address, "tcp", 80)] * 4
    assert {one.result for one in send_all(cluster, wanted, timeout_s=PATIENCE_S)} == {"delivered"}
    cluster.kill_node("node2")
    assert endpoints(cluster, "web") == set()
    (node,) = [one for one in items(cluster, "nodes") if one["metadata"]["name"] == "node2"]
    assert node["status"]["conditions"] == [{"type": "Ready", "status": "Unknown"}]
    assert send_all(cluster, wanted[:1], timeout_s=PATIENCE_S)[0].result == "refused"
    cluster.restart_node("node2")
    assert send_all(cluster, wanted[:1], timeout_s=PATIENCE_S)[0].result == "delivered"


def test_what_cannot_be_built_is_refused() -> None:
    with pytest.raises(SpecError, match="no mode of kube-proxy 'ipvs'; there are: nftables, iptables, both"):
        ClusterSpec("nv-none", services=1, proxy="ipvs").check()
    with pytest.raises(SpecError, match="services: from 0 to 500, not 501"):
        ClusterSpec("nv-none", services=501).check()
    assert len(shapes.invented(ClusterSpec("nv-none", services=50))) == 51
    assert shapes.invented(ClusterSpec("nv-none")) == []
