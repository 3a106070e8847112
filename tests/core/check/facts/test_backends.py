"""Rules in nftables and in iptables' legacy tables at once."""

from __future__ import annotations

from netviz.core.model.netfilter import (
    NF_ACCEPT,
    NF_DROP,
    NF_FORWARD,
    NFPROTO_IPV4,
    NFPROTO_IPV6,
    ChainBody,
    NftChain,
    NftExpr,
    NftRuleBody,
    XtTable,
    body_digest,
)
from tests.core.check.judging import kinds, only
from tests.core.sim.build import Net, Ns, textbook

RULES = ChainBody((NftRuleBody((NftExpr("counter"),)),))


def rules(net: Net) -> bytes:
    digest = body_digest(RULES)
    net.bodies[digest] = RULES
    return digest


def both(policy: int = NF_ACCEPT, with_rules: bool = True, family: int = NFPROTO_IPV4) -> tuple[Net, Ns]:
    net, made = textbook()
    node, body = made["node-1"], rules(net)
    node.add("nft_chains", NftChain(NFPROTO_IPV4, "fw", "forward", type="filter", hook=NF_FORWARD, body=body))
    node.add("xt_tables", XtTable(family, "filter", read=True))
    legacy = NftChain(family, "filter", "FORWARD", type="filter", hook=NF_FORWARD, policy=policy)
    node.add("xt_chains", legacy if not with_rules else NftChain(**{**_fields(legacy), "body": body}))
    return net, node


def _fields(chain: NftChain) -> dict[str, object]:
    return {name: getattr(chain, name) for name in chain.__struct_fields__}


def test_rules_in_both() -> None:
    problem = only(both()[0])
    assert problem.headline == "node-1 has rules in nftables and in iptables-legacy"
    assert (problem.severity, problem.harm) == ("warning", "at risk")


def test_a_legacy_policy_that_drops_what_is_forwarded() -> None:
    problem = only(both(NF_DROP, with_rules=False)[0])
    assert (
        problem.headline
        == "node-1 has rules in nftables and in iptables-legacy, whose FORWARD drops by policy"
    )
    assert (problem.severity, problem.harm) == ("error", "breaks traffic")
    assert problem.fix[0].command == "iptables-legacy -P FORWARD ACCEPT"


def test_empty_legacy_tables_and_another_family_are_no_problem() -> None:
    assert kinds(both(with_rules=False)[0]) == []
    assert kinds(both(family=NFPROTO_IPV6)[0]) == []
