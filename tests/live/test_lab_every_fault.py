"""Each fault affects exactly the pairs that it names, as real packets show, and is undone without a trace.

Here each is applied to one kind of network; `make proof-faults` applies it to all kinds that it works in,
and compares each packet with its prediction as well.
"""

from __future__ import annotations

import json
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from lab.cluster import Cluster, ClusterSpec
from lab.faults import FAULTS, affected_by, apply_fault, listed, mend, possible
from lab.faults.model import FLOW_PORT, Pair, dns_addresses
from lab.kubernetes import dns
from lab.reality import Probe, send_all
from lab.spec import LabError
from tests.live.fault_probes import (
    PATIENCE_S,
    SERVICE_PORT,
    Met,
    differences,
    healthy,
    kernel_state,
    left_behind,
    service_addresses,
)
from tests.live.prediction import expected_results, predict, snapshot
from tests.slow import every_second_quick

pytestmark = pytest.mark.live
SERVICES = "+services"
CONNECTIONS = 1000
CASES = sorted(
    (fault.kinds[0] + (SERVICES if fault.needs_services else ""), name) for name, fault in FAULTS.items()
)
# Where a variant builds as another kind does, and its pods' sources become their nodes'.
MASQUERADED = "cni ptp"
CASES += [(MASQUERADED, name) for name in ("masquerade-off", "raw-drop-by-source", "route-missing")]


class Rig(msgspec.Struct):
    """A cluster of one kind, what packets met in it before any fault, and its kernel state then."""

    cluster: Cluster
    before: dict[Pair, Met]
    state: dict[str, list[str]]


@pytest.fixture(scope="module")
def rig(request: pytest.FixtureRequest) -> Iterator[Rig]:
    """Two pods on each of three nodes."""
    network, with_services, _ = request.param.partition(SERVICES)
    kind, _, variant = network.partition(" ")
    services = 2 if with_services else 0
    spec = ClusterSpec(f"t{os.getpid()}-f", nodes=3, pods=2, kind=kind, variant=variant, services=services)
    with Cluster.up(spec) as cluster:
        before = healthy(cluster)
        yield Rig(cluster, before, kernel_state(cluster))


@pytest.mark.parametrize(("rig", "name"), every_second_quick(CASES), indirect=["rig"])
def test_a_fault_affects_what_it_says_and_is_undone(rig: Rig, name: str) -> None:
    expected = affected_by(rig.cluster, name)
    apply_fault(rig.cluster, name)
    try:
        found = differences(rig.cluster, rig.before, expected)
    finally:
        mend(rig.cluster)
    assert not found, "\n".join(found[:20])
    assert not left_behind(rig.cluster, rig.state)


@pytest.mark.parametrize("rig", [MASQUERADED], indirect=True)
def test_a_variant_has_the_faults_that_its_devices_and_sources_allow(rig: Rig) -> None:
    here = {fault.name for fault in possible(rig.cluster)}
    assert {"masquerade-off", "route-missing", "xdp-drop"} <= here
    said = {fault["name"] for fault in listed(rig.cluster) if "pairs" in fault}
    assert said == here
    for name, message in (
        ("bridge-old-range", "is no fault of cni ptp, but of: textbook, vxlan, cni"),
        ("masquerade-between-pods", "affects nobody in cni ptp"),
        ("hairpin-off", "is no fault of cni ptp"),
    ):
        assert name not in here
        with pytest.raises(LabError, match=message):
            apply_fault(rig.cluster, name)
    assert not left_behind(rig.cluster, rig.state)


@pytest.mark.parametrize("rig", ["textbook" + SERVICES], indirect=True)
@pytest.mark.parametrize("family", [4, 6])
def test_a_stale_conntrack_entry_is_predicted_for_its_flow_alone(
    rig: Rig, family: int, tmp_path: Path
) -> None:
    address = dns_addresses(rig.cluster.state)[family]
    apply_fault(rig.cluster, "stale-conntrack")
    try:
        state = snapshot(rig.cluster, tmp_path)
    finally:
        mend(rig.cluster)
    ends = [
        {
            frozenset(expected_results(branch))
            for branch in predict(
                state, rig.cluster, Probe(src, address, "udp", dns.PORT, sport=port)
            ).branches
        }
        for src, port in (("web-1", FLOW_PORT), ("web-1", FLOW_PORT + 1), ("api-1", FLOW_PORT))
    ]
    assert "delivered" not in frozenset.union(*ends[0])
    assert ends[1:] == [{frozenset({"delivered"})}] * 2


@pytest.mark.parametrize("rig", ["textbook" + SERVICES], indirect=True)
def test_a_doubled_endpoint_gets_twice_the_share(rig: Rig) -> None:
    expected = affected_by(rig.cluster, "doubled-endpoint")
    apply_fault(rig.cluster, "doubled-endpoint")
    try:
        shares = _shares(rig.cluster, "node1", "web")
    finally:
        mend(rig.cluster)
    assert not expected
    # Of four entries the first pod has two; a share of 1/3 or of 1/2 is over five deviations from this bound.
    first, *others = sorted(shares, key=lambda address: address.split("."))
    assert len(others) == 2
    assert shares[first] > 0.42 * sum(shares.values()), shares


def _shares(cluster: Cluster, node: str, service: str) -> Counter[str]:
    """How many of many connections from a node to a service went to each endpoint, as its conntrack says."""
    address = service_addresses(cluster)[service][0]
    filters = ["-p", "tcp", "--orig-dst", address]
    cluster.exec(node, ["conntrack", "-D", *filters])
    outcomes = send_all(
        cluster, [Probe(node, address, "tcp", SERVICE_PORT)] * CONNECTIONS, timeout_s=PATIENCE_S
    )
    assert {outcome.result for outcome in outcomes} == {"delivered"}
    entries = cluster.exec(node, ["conntrack", "-L", *filters]).stdout.splitlines()
    return Counter(re.findall(r"src=(\S+)", entry)[1] for entry in entries)


@pytest.mark.parametrize("rig", ["textbook"], indirect=True)
def test_the_list_says_of_each_fault_who_is_to_blame_and_who_is_affected(rig: Rig) -> None:
    assert len(FAULTS) >= 30
    said = {fault["name"]: fault for fault in json.loads(json.dumps(listed(rig.cluster)))}
    assert set(said) == set(FAULTS)
    for name, fault in FAULTS.items():
        assert fault.summary
        assert said[name]["kinds"] == list(fault.kinds)
        if "textbook" in fault.kinds and not fault.needs_services:
            expected = affected_by(rig.cluster, name)
            found = {
                Pair(p["from"], p["to"], p["family"], p["size"]): p["certain"] for p in said[name]["pairs"]
            }
            assert found == expected
            assert said[name]["blame"]["node"] in rig.cluster.nodes
        else:
            assert "pairs" not in said[name]
    missing = said["route-missing"]
    assert missing["sees"].startswith("node1 has no route to node2's pods")
    assert missing["blame"] == {"node": "node1", "device": "eth0"}
    veth = rig.cluster.pod("web-1").host_ifname
    assert said["bridge-port-down"]["blame"] == {"node": "node1", "device": veth}
    assert listed(None)[0]["affects"]
