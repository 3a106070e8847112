"""The text of a rule ends, whatever lengths its expressions claim."""

from __future__ import annotations

import pytest

from netviz.core.model.netfilter import NftExpr, NftRuleBody
from netviz.core.sim.nft.text import rule_text


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
