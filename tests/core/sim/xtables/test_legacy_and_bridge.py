"""Legacy tables beside nftables, and bridged packets through the IP hooks.

    web-1 (10.1.1.11) --\\
    api-1 (10.1.1.12) ---- cni0 (10.1.1.1), node
"""

from __future__ import annotations

import pytest

from netviz.core.model.link import BridgeInfo
from netviz.core.model.netfilter import (
    NFPROTO_IPV4,
    ChainBody,
    NftChain,
    NftExpr,
    NftRuleBody,
    XtTable,
    body_digest,
)
from netviz.core.sim.nft.meta import PACKET_HOST
from netviz.core.sim.render import render_text, trace_json
from netviz.core.sim.trace import Disposition, Trace
from netviz.core.sim.words.step import checks, why
from tests.core.sim.build import Net, Ns
from tests.core.sim.nft import chain, verdict
from tests.core.sim.xtables.recorded import rule

ACCEPT, DROP = 1, 0
FORWARD, PRE = 2, 0
DNAT = NftRuleBody((NftExpr("target", {"name": "DNAT", "rev": 2, "info": b""}),))


def node_with_pods() -> tuple[Net, Ns]:
    """A node whose bridge calls the IP hooks."""
    net = Net()
    node = net.node("node-1")
    node.bridge("cni0", "10.1.1.1/24")
    node.change("cni0", info=BridgeInfo(nf_call_iptables=True))
    for name, address in (("web-1", "10.1.1.11/24"), ("api-1", "10.1.1.12/24")):
        net.pod(node, name, "cni0", address, via="10.1.1.1").listen("tcp", 8080)
    return net, node


def legacy(
    node: Ns, name: str, hook: int | None, *rules: NftRuleBody, table: str = "filter", policy: int = ACCEPT
) -> None:
    """Add a chain of a legacy table."""
    body = ChainBody(rules)
    node.net.bodies[body_digest(body)] = body
    kind = "nat" if table == "nat" else "filter"
    priority = {"nat": -100, "filter": 0, "mangle": -150}[table]
    node.add(
        "xt_chains",
        NftChain(
            2,
            table,
            name,
            0,
            kind if hook is not None else "",
            hook,
            priority,
            policy,
            body=body_digest(body),
        ),
    )
    if not any(one.name == table for one in node.lists.get("xt_tables", ())):
        node.add("xt_tables", XtTable(NFPROTO_IPV4, table, read=True))


def jump(target: str) -> NftRuleBody:
    """A rule that only jumps."""
    return NftRuleBody((NftExpr("immediate", {"dreg": 0, "data": {"code": -3, "chain": target}}),))


def words(trace: Trace) -> str:
    """All that is said on the way."""
    return " ".join(why(s) for b in trace.branches for h in b.forward.hops for s in h.steps)


def test_a_legacy_chain_and_its_jump() -> None:
    """A user's chain of the same table decides; the step shows the rule and how to list it."""
    net, node = node_with_pods()
    legacy(node, "nv-c", None, rule("-j REJECT --reject-with icmp-host-prohibited", "iptables-legacy"))
    legacy(node, "FORWARD", FORWARD, jump("nv-c"))
    trace = net.trace("web-1", "api-1", dport=8080)
    assert (trace.disposition, trace.reason) == (Disposition.REJECTED, "icmp-host-prohibited")
    assert "-j REJECT --reject-with icmp-host-prohibited" in words(trace)
    hop = trace.branches[0].forward.hops[-1]
    [check] = checks(hop.steps[-1], hop)
    assert check["command"].endswith("iptables-legacy -t filter -v -S nv-c")


def test_a_table_that_was_not_read() -> None:
    """Its name, and never through it."""
    net, node = node_with_pods()
    node.add("xt_tables", XtTable(NFPROTO_IPV4, "mangle"))
    trace = net.trace("web-1", "api-1", dport=8080)
    assert (trace.disposition, trace.reason) == (
        Disposition.UNKNOWN,
        "legacy xtables table mangle not read",
    )


def test_equal_priorities_fork_where_both_have_rules() -> None:
    """Nothing tells which was registered first."""
    net, node = node_with_pods()
    legacy(node, "FORWARD", FORWARD, rule("-j REJECT --reject-with icmp-host-prohibited", "iptables-legacy"))
    chain(node, "forward", (verdict(DROP),), hook=FORWARD)
    trace = net.trace("web-1", "api-1", dport=8080)
    assert {branch.forward.disposition for branch in trace.branches} == {
        Disposition.DROPPED,
        Disposition.REJECTED,
    }
    said = render_text(trace)
    assert "The legacy filter table and chain t forward have the same priority in forward" in said
    assert {branch["choice"] for branch in trace_json(trace)["branches"]} == {
        "the legacy filter table before t forward",
        "t forward before the legacy filter table",
    }
    net, node = node_with_pods()
    legacy(node, "FORWARD", FORWARD)
    chain(node, "forward", (verdict(DROP),), hook=FORWARD)
    assert len(net.trace("web-1", "api-1", dport=8080).branches) == 1


@pytest.mark.parametrize("bridged", [True, False])
def test_dnat_of_a_bridged_packet(bridged: bool) -> None:
    """Behind the same bridge the packet stays bridged (its TTL too); without the hooks nothing happens to it."""
    net, node = node_with_pods()
    node.change("cni0", info=BridgeInfo(nf_call_iptables=bridged))
    info = (
        (1).to_bytes(4, "little") + bytes([10, 1, 1, 12]) + bytes(12) + bytes([10, 1, 1, 12]) + bytes(12 + 8)
    )
    body = NftRuleBody((NftExpr("target", {"name": "DNAT", "rev": 2, "info": info}),))
    legacy(node, "PREROUTING", PRE, body, table="nat")
    trace = net.trace("web-1", "10.1.1.1", dport=8080)
    last = trace.branches[0].forward.hops[-1]
    assert trace.disposition is Disposition.DELIVERED
    assert last.place.pod.endswith("api-1")
    assert last.steps[-1].packet.ttl == (64 if bridged else 63)
    reply = trace.branches[0].reply
    assert reply is not None
    assert (reply.disposition is Disposition.DELIVERED) == bridged


def test_a_frame_for_the_bridge_stays_so_when_its_packet_is_translated_and_bridged() -> None:
    """`pkt_type` was set when the frame came in: a new destination MAC doesn't make it another host's."""
    net, node = node_with_pods()
    info = (
        (1).to_bytes(4, "little") + bytes([10, 1, 1, 12]) + bytes(12) + bytes([10, 1, 1, 12]) + bytes(12 + 8)
    )
    dnat_to_api = NftRuleBody((NftExpr("target", {"name": "DNAT", "rev": 2, "info": info}),))
    legacy(node, "PREROUTING", PRE, dnat_to_api, table="nat")
    steps = net.trace("web-1", "10.1.1.1", dport=8080).branches[0].forward.hops[1].steps
    assert {step.packet.pkttype for step in steps if step.action == "forward"} == {PACKET_HOST}


def test_prerouting_once_for_what_goes_up() -> None:
    """A rule that lowers the TTL acts once."""
    net, node = node_with_pods()
    dec = rule("-j TTL --ttl-dec 2", "iptables-legacy")
    for hook, name in enumerate(("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING")):
        legacy(node, name, hook, *([dec] if hook == PRE else []), table="mangle")
    trace = net.trace("web-1", "10.1.1.1", proto="icmp", dport=None)
    assert trace.branches[0].forward.hops[-1].steps[-1].packet.ttl == 62
