"""Records in words: as the tools of the field write them."""

from __future__ import annotations

import pytest

from netviz.core.model.addr import pack_ip
from netviz.core.model.l3 import FR_ACT_GOTO, FR_ACT_NOP, FR_ACT_PROHIBIT, Rule
from netviz.core.sim.words.iproute import rule_text


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (Rule(2, 1, src=pack_ip("10.0.0.0"), src_len=8, table_id=100), "1: from 10.0.0.0/8 lookup 100"),
        (Rule(2, 1, src=bytes(4), src_len=8, tos=8, table_id=254), "1: from 0.0.0.0/8 tos 0x08 lookup main"),
        (Rule(2, 1, fwmark=1, fwmask=0xFF, table_id=254), "1: from all fwmark 0x1/0xff lookup main"),
        (Rule(2, 1, fwmark=1, fwmask=0xFFFFFFFF, table_id=254), "1: from all fwmark 0x1 lookup main"),
        (Rule(2, 1, iifname="eth0", invert=True, table_id=7), "1: not from all iif eth0 lookup 7"),
        (
            Rule(2, 1, ip_proto=6, dport=(80, 90), action=FR_ACT_PROHIBIT),
            "1: from all ipproto tcp dport 80-90 prohibit",
        ),
        (Rule(2, 1, l3mdev=True), "1: from all lookup [l3mdev-table]"),
        (Rule(2, 1, table_id=254, suppress_prefixlen=0), "1: from all lookup main suppress_prefixlength 0"),
        (Rule(2, 1, table_id=254, suppress_ifgroup=3), "1: from all lookup main suppress_ifgroup 3"),
        (Rule(2, 1, action=FR_ACT_GOTO, goto=9, uid_range=(5, 6)), "1: from all uidrange 5-6 goto 9"),
        (
            Rule(2, 1, action=FR_ACT_NOP, sport=(16, 16), sport_mask=0xFFF0),
            "1: from all sport 0x10/0xfff0 nop",
        ),
        (
            Rule(10, 1, dscp=2, dscp_mask=6, flowlabel=18, flowlabel_mask=255, table_id=254),
            "1: from all dscp 0x2/0x6 flowlabel 0x12/0xff lookup main",
        ),
    ],
)
def test_policy_rules_read_as_ip_rule_shows_them(rule: Rule, text: str) -> None:
    assert rule_text(rule) == text
