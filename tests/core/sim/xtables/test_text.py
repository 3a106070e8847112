"""Rules are written as iptables-save writes them."""

from __future__ import annotations

import pytest

from netviz.core.model.netfilter import IpSet, NftExpr, NftRuleBody
from netviz.core.sim.xtables.text import is_xtables, xt_rule_text
from tests.core.sim.xtables.recorded import RULES


@pytest.mark.parametrize(("program", "text", "rule"), RULES, ids=[f"{p} {t}" for p, t, _ in RULES])
def test_a_recorded_rule(program: str, text: str, rule: NftRuleBody) -> None:
    """Word for word, of either backend and family."""
    assert xt_rule_text(rule, program.startswith("ip6")) == text


def test_what_is_not_known_is_named_with_its_revision() -> None:
    """An extension without a decoder, and a revision that isn't known."""
    odd = NftRuleBody(
        (
            NftExpr("match", {"name": "bpf", "rev": 1, "info": b"x"}),
            NftExpr("match", {"name": "tcp", "rev": 9, "info": bytes(40)}),
            NftExpr("target", {"name": "SYNPROXY", "rev": 0, "info": b"y"}),
        )
    )
    assert is_xtables(odd)
    assert xt_rule_text(odd) == "-m bpf [revision 1] -m tcp [revision 9] -j SYNPROXY [revision 0]"


@pytest.mark.parametrize("rule", [rule for _, _, rule in RULES[::7]])
def test_cut_payloads_raise_nothing(rule: NftRuleBody) -> None:
    """A payload that is too short is like one that isn't known."""
    for length in (0, 1, 3, 9):
        cut = [
            NftExpr(e.name, {**e.attrs, "info": e.attrs["info"][:length]}) if "info" in e.attrs else e
            for e in rule.exprs
        ]
        assert xt_rule_text(NftRuleBody(tuple(cut))) is not None


def test_a_set_is_named() -> None:
    """By its index; one that isn't known keeps its number."""
    info = (5).to_bytes(2, "little") + bytes([2, 1 | 2]) + bytes(4 + 16 * 2 + 8)
    rule = NftRuleBody((NftExpr("match", {"name": "set", "rev": 4, "info": info}),))
    sets = {"allowed": IpSet("allowed", "hash:ip,port", 2, 5)}
    assert xt_rule_text(rule, sets=sets) == "-m set ! --match-set allowed src,dst"
    assert xt_rule_text(rule) == "-m set ! --match-set #5 src,dst"
