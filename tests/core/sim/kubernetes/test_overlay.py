"""Meanings are words on top: with every recogniser taken away, a trace is otherwise the same."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from netviz.core.model.addr import pack_ip
from netviz.core.model.ids import LinkKey
from netviz.core.model.ipvs import IpvsServer, IpvsService
from netviz.core.model.link import VxlanInfo
from netviz.core.model.netns import Pod
from netviz.core.sim.kubernetes import overlay
from netviz.core.sim.steps import Encap
from netviz.core.sim.trace import Disposition, Trace
from netviz.core.sim.words.evidence import evidence_of
from netviz.core.sim.words.step import why
from tests.core.sim.build import Net, Ns, textbook
from tests.core.sim.nft import (
    ACCEPT,
    DROP,
    FORWARD,
    GOTO,
    JUMP,
    PREROUTING,
    RETURN,
    chain,
    daddr,
    dnat,
    dport,
    e,
    l4proto,
    saddr,
    verdict,
)

TABLES = ("kube-proxy", "filter", "nat", "calico", "kindnet-ipmasq", "cni_hostport", "flannel-ipv4")
CHAINS = (
    "KUBE-SVC-A",
    "KUBE-FORWARD",
    "service-ABCDEFGH-default/web/tcp/http",
    "endpoint-ABCDEFGH-default/web/tcp/http__10.1.2.11/80",
    "cali-pi-x",
    "filter-cali-tw-cali1",
    "cali-nat-outgoing",
    "FLANNEL-FWD",
    "KIND-MASQ-AGENT",
    "CNI-DN-0123456789abcdef01234",
    "CNI-FORWARD",
    "hostports",
)
DEVICES = (
    "cni0",
    "flannel.1",
    "cali1",
    "tunl0",
    "cilium_host",
    "lxc1",
    "kube-ipvs0",
    "plain0",
    "bwp0123456789ab",
)
COMMENTS = ("default/web:http cluster IP", "cali:x", "Drop if no policies passed packet", "", "x: y")
MATCHES = (saddr("10.1.1.11"), daddr("10.1.2.11"), daddr("10.96.0.1"), (*l4proto(6), *dport(80)), ())
ENDS = (verdict(ACCEPT), verdict(DROP), verdict(RETURN))


@contextmanager
def without_recognisers() -> Iterator[None]:
    """Take every recogniser away."""
    names = ("RULES", "DEVICES", "ROUTES", "NEIGHBOURS", "ADDRESSES")
    with mock.patch.multiple(overlay, **dict.fromkeys(names, ())):
        yield


def facts(trace: Trace) -> Any:
    """All of a trace but the words."""
    paths = [path for branch in trace.branches for path in (branch.forward, branch.reply) if path is not None]
    steps = [
        (s.seq, s.kind, s.dev, s.packet.fields(), s.diff, s.action, s.reason, evidence_of(s), s.certainty)
        for path in paths
        for hop in path.hops
        for s in hop.steps
    ]
    ends = [(path.disposition, path.reason) for path in paths]
    chances = [branch.probability for branch in trace.branches]
    return (trace.disposition, trace.reason, trace.certainty, trace.origin, ends, chances, steps)


def words(trace: Trace) -> list[str]:
    """The sentences of the forward paths."""
    return [why(s) for branch in trace.branches for hop in branch.forward.hops for s in hop.steps]


rule = st.tuples(
    st.sampled_from(MATCHES),
    st.sampled_from(COMMENTS),
    st.one_of(
        st.sampled_from(ENDS),
        st.tuples(st.sampled_from((JUMP, GOTO)), st.sampled_from(CHAINS)).map(lambda jump: verdict(*jump)),
        st.just("dnat"),
    ),
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    tables=st.lists(st.sampled_from(TABLES), max_size=3, unique=True),
    rules=st.dictionaries(st.sampled_from(CHAINS), st.lists(rule, max_size=3), max_size=5),
    start=st.lists(rule, min_size=1, max_size=4),
    device=st.sampled_from(DEVICES),
    target=st.sampled_from(("10.1.2.11", "10.96.0.1", "10.1.1.12")),
)
def test_recognising_changes_no_fact(
    tables: list[str], rules: dict[str, list[Any]], start: list[Any], device: str, target: str
) -> None:
    """Whatever chains of recognised names do to the packet, and whatever devices are called."""
    net, made = textbook()
    node = made["node-1"]
    for name in tables:
        for chain_name, bodies in rules.items():
            chain(node, chain_name, *(written(body) for body in bodies), tbl=name)
        for number, hook in enumerate((PREROUTING, FORWARD)):
            kind = "nat" if hook == PREROUTING else "filter"
            bodies = [written(body, nat=kind == "nat") for body in start]
            chain(node, f"base{number}", *bodies, hook=hook, type=kind, priority=-100 + number, tbl=name)
    node.change("veth-pod-1-1", ifname=device if device != "cni0" else "veth-pod-1-1")
    with without_recognisers():
        plain = net.trace("pod-1-1", target, dport=80)
    assert facts(net.trace("pod-1-1", target, dport=80)) == facts(plain)


def written(body: tuple[Any, str, Any], nat: bool = True) -> tuple[Any, ...]:
    """Make a rule's expressions: match, comment, end."""
    match, comment, end = body
    said = (e("match", name="comment", rev=0, info=comment.encode().ljust(256, b"\0")),) if comment else ()
    if end == "dnat":
        return (*match, *said, *(dnat("10.1.2.11", 80) if nat else (verdict(ACCEPT),)))
    return (*match, *said, end)


def leads(net: Net, node: Ns, name: str, cidr: str) -> Ns:
    """Give a node a device of a name that leads to a pod by a route, as Calico's and Cilium's do."""
    pod = net.netns("node-1", f"node-1-{name}", pod=Pod("own", "default"))
    net.veth(pod, "eth0", node, name)
    pod.addr("eth0", cidr)
    pod.route("169.254.1.1/32", dev="eth0")
    pod.route("0.0.0.0/0", "169.254.1.1", dev="eth0", flags=4)
    node.route(cidr, dev=name)
    return pod


def test_devices() -> None:
    """Devices say whose they are, once in a hop; another's device of such a name does not."""
    net, made = textbook()
    node = made["node-1"]
    assert "cni0 is the bridge of the CNI bridge plugin or flannel." in " ".join(
        words(net.trace("pod-1-1", "10.1.2.11", dport=80))
    )
    for name in ("node-1", "node-2"):
        made[name].change("cni0", ifname="br0")
    assert not any("CNI" in why for why in words(net.trace("pod-1-1", "10.1.2.11", dport=80)))
    pod = leads(net, node, "cali7", "10.1.9.9/32")
    pod.listen("tcp", 80)
    node.conf4("cali7", proxy_arp=1)
    said = words(net.trace("10.1.9.9", "10.1.2.11", dport=80))
    assert any(why.endswith("cali7 is Calico's device that leads to pod default/own.") for why in said), said
    assert any(
        why.endswith("169.254.1.1 is the gateway of Calico's pods, for which cali7 answers on the node.")
        for why in said
    ), said


def test_what_cannot_be_read_costs_only_the_words() -> None:
    """A policy's chain whose first rule makes no sense: the trace is there, the policy's name isn't."""
    net, made = textbook()
    node = made["node-1"]
    broken = (
        e("meta", dreg=1),
        e("cmp", sreg=1, op=0, data=b"\x07"),
        e("target", name="DNAT", rev=2),
        e("x"),
    )
    chain(node, "cali-pi-x", broken, tbl="filter")
    passed = e("match", name="comment", rev=0, info=b"Return if policy accepted".ljust(256, b"\0"))
    ask = (*daddr("10.1.2.11"), verdict(JUMP, "cali-pi-x"))
    chain(node, "cali-tw-cali1", ask, (passed, verdict(RETURN)), tbl="filter")
    chain(node, "FORWARD", (verdict(JUMP, "cali-tw-cali1"),), hook=FORWARD, tbl="filter")
    trace = net.trace("pod-1-1", "10.1.2.11", dport=80)
    with without_recognisers():
        assert facts(trace) == facts(net.trace("pod-1-1", "10.1.2.11", dport=80))
    (said,) = (why for why in words(trace) if "Calico" in why)
    assert said.endswith("That is Calico's: a policy lets it in to cali1."), "which policy isn't known"


def test_routes_of_kindnet() -> None:
    """A node with kindnet's chain has kindnet's routes; one without has just routes."""
    net, made = textbook()
    assert not any("kindnet" in why for why in words(net.trace("pod-1-1", "10.1.2.11", dport=80)))
    chain(made["node-1"], "KIND-MASQ-AGENT", tbl="nat")
    said = words(net.trace("pod-1-1", "10.1.2.11", dport=80))
    assert any(why.endswith("That is kindnet's route to the pods of node node-2.") for why in said)


def test_cilium_and_ipip() -> None:
    """A device lxc* is Cilium's where Cilium's own device is; tunl0 is Calico's where Calico's devices are."""
    net, made = textbook()
    node = made["node-1"]
    pod = leads(net, node, "lxc7", "10.1.9.9/32")
    pod.listen("tcp", 80)
    node.conf4("lxc7", proxy_arp=1)
    assert not any("Cilium" in why for why in words(net.trace("10.1.9.9", "10.1.2.11", dport=80)))
    net.veth(node, "cilium_host", node, "cilium_net")
    said = words(net.trace("10.1.9.9", "10.1.2.11", dport=80))
    assert any(why.endswith("lxc7 is Cilium's device that leads to pod default/own.") for why in said)
    node.link("tunl0", "ipip", arptype=768)
    node.route("10.9.0.0/16", dev="tunl0")
    there = words(net.trace("pod-1-1", "10.9.0.1", dport=80))
    assert any("tunl0" in why for why in there)
    assert not any("Calico" in why for why in there)
    node.change("lxc7", ifname="cali7")
    assert (
        "tunl0 is the IPIP device that Calico uses." in words(net.trace("pod-1-1", "10.9.0.1", dport=80))[-1]
    )


def test_network_policies_of_kindnet() -> None:
    """kindnet's agent decides in a program: the step that says so says whose it is."""
    net, made = textbook()
    queue = (*saddr("10.1.1.11"), e("queue", num=101, flags=1))
    chain(made["node-1"], "prerouting", queue, hook=PREROUTING, tbl="kindnet-network-policies", family=1)
    trace = net.trace("pod-1-1", "10.1.2.11", dport=80)
    assert trace.disposition is Disposition.UNKNOWN
    assert "kindnet's network policies, which its agent decides outside the kernel." in " ".join(words(trace))


def test_services_of_ipvs() -> None:
    """A service of IPVS is kube-proxy's where kube-proxy's device holds its address; IPVS isn't in a test kernel."""
    net, made = textbook()
    node = made["node-1"]
    servers = (IpvsServer(pack_ip("10.1.2.11"), 80), IpvsServer(pack_ip("10.1.9.9"), 80))
    node.add("ipvs", IpvsService(6, pack_ip("192.168.0.1"), 80, scheduler="rr", servers=servers))
    assert not any("kube-proxy" in why for why in words(net.trace("pod-1-1", "192.168.0.1", dport=80)))
    node.link("kube-ipvs0", "dummy")
    said = words(net.trace("pod-1-1", "192.168.0.1", dport=80))
    ends = "endpoint 10.1.2.11:80 (pod default/pod-2-1 on node-2), endpoint 10.1.9.9:80"
    assert any(why.endswith(f"That is a service of kube-proxy in ipvs mode, with {ends}.") for why in said)


def phrase(ifname: str, kind: str, **fields: Any) -> str:
    """What a step at a device of node-1 says of it."""
    net, made = textbook()
    made["node-1"].link(ifname, kind, **fields)
    trace = net.trace("pod-1-1", "10.1.2.11", dport=80)
    cluster = net.cluster()
    ns = cluster.nodes["node-1"].netns[made["node-1"].key]
    first = trace.branches[0].forward.hops[0].steps[0]
    at = LinkKey(ns.key, made["node-1"].named(ifname).ifindex)
    step = msgspec.structs.replace(first, what=Encap("encapsulate"), at=at, dev=ifname)
    return overlay.meaning(overlay.Seen(cluster, ns, step), set())


def test_devices_of_kinds_that_a_test_kernel_lacks() -> None:
    """Names count only with the kind of device that the program makes."""
    vni = {"info": VxlanInfo(vni=1)}
    assert phrase("flannel.1", "vxlan", **vni) == "flannel.1 is flannel's VXLAN device (VNI 1)."
    assert phrase("flannel.2", "vxlan", **vni) == ""
    assert phrase("flannel.1", "dummy") == ""
    assert phrase("flannel-wg", "wireguard") == "flannel-wg is flannel's WireGuard device."
    assert phrase("vxlan.calico", "vxlan", **vni) == "vxlan.calico is Calico's VXLAN device."
    assert phrase("wireguard.cali", "wireguard") == "wireguard.cali is Calico's WireGuard device."
    assert phrase("tunl0", "ipip") == ""
    assert phrase("cilium_vxlan", "vxlan", **vni) == "cilium_vxlan is Cilium's VXLAN device."
    assert phrase("cilium_wg0", "wireguard") == "cilium_wg0 is Cilium's WireGuard device."
    assert "keeps the services' addresses" in phrase("kube-ipvs0", "dummy")
    assert phrase("kube-ipvs0", "veth") == ""
    assert phrase("eth7", "dummy") == ""
