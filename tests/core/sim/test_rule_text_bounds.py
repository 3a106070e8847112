"""The text of a rule ends, whatever its expressions claim, and says so where they make no sense."""

from __future__ import annotations

import pytest

from netviz.core.model.netfilter import NftExpr, NftRuleBody
from netviz.core.sim.nft.text import UNREADABLE_RULE, rule_text
from tests.core.sim.nft import e


@pytest.mark.timeout(20)
@pytest.mark.parametrize("length", [False, 0, -4, -(1 << 62), (1 << 64) - 1])
def test_a_load_of_any_length_in_a_concatenation(length: int) -> None:
    load = NftExpr("payload", {"base": 1, "dreg": 1, "offset": 12, "len": length})
    update = NftExpr("dynset", {"op": 1, "set_name": "s", "sreg_key": 1, "flags": 0, "timeout": 0})
    hashed = NftExpr(
        "hash", {"sreg": 1, "dreg": 2, "len": length, "modulus": 2, "seed": 1, "offset": 0, "type": 0}
    )
    for exprs in ((load, update), (load, hashed), (hashed,)):
        assert len(rule_text(NftRuleBody(exprs), 2, {}, False)) < 1000


@pytest.mark.parametrize(
    "exprs",
    [
        (e("cmp", op=0, data=b"\0"),),
        (e("payload", dreg=1, base=b"x", offset=0, len=4), e("cmp", sreg=1, op=0, data=b"\0" * 4)),
        (e("immediate", dreg=0, data={"code": [1]}), e("match", name={"a": 1}, info=b"")),
    ],
)
def test_a_rule_that_contradicts_itself_is_said_to(exprs: tuple[NftExpr, ...]) -> None:
    assert rule_text(NftRuleBody(exprs)) == UNREADABLE_RULE
