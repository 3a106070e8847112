"""Rules that the index of a long chain leaves out could not have matched."""

from __future__ import annotations

import random

from netviz.core.model.netfilter import ChainBody, NftRuleBody
from netviz.core.sim.nft.context import Tri
from netviz.core.sim.nft.index import MIN_RULES, build_index, chain_index
from tests.core.sim.xtables.recorded import RULES, apply_rule, context, echo, tcp, udp


def recorded(ipv6: bool) -> list[NftRuleBody]:
    """All recorded rules of a family."""
    return [rule for program, _, rule in RULES if program.startswith("ip6") == ipv6]


def packets(ipv6: bool) -> list:
    """Packets that many of the rules are about."""
    addresses = (
        ("fd00::1", "fd01::77", "fd00::5") if ipv6 else ("10.96.0.1", "10.1.2.3", "10.5.7.8", "192.0.2.1")
    )
    made = []
    for src in addresses:
        for dst in addresses:
            made += [tcp(src, dst, dport=port) for port in (22, 80, 81, 82, 99)]
            made += [udp(src, dst), tcp(src, dst, dport_unsure=True)]
    return made if ipv6 else [*made, echo()]


def test_what_is_left_out_does_not_match() -> None:
    """Of the recorded rules, for many packets; the rest comes in order."""
    for ipv6 in (False, True):
        rules = recorded(ipv6)
        index = build_index(ChainBody(tuple(rules)), 10 if ipv6 else 2)
        assert len(index.rest) < len(rules) - 5
        for packet in packets(ipv6):
            visited, at = [], 0
            while (at := index.next_rule(packet, at)) < len(rules):
                visited.append(at)
                at += 1
            assert visited == sorted(set(visited))
            assert set(index.rest) <= set(visited)
            for number in set(range(len(rules))) - set(visited):
                ctx = context(packet)
                assert apply_rule(ctx, rules[number]) is Tri.FALSE
                assert not ctx.run.choices
                assert ctx.packet is packet


def test_from_any_place() -> None:
    """The next rule is the first at or after the place."""
    rules = recorded(False)
    index = build_index(ChainBody(tuple(rules)), 2)
    pick = random.Random(3)
    for packet in packets(False)[:20]:
        at = pick.randrange(len(rules))
        every = [n for n in range(len(rules)) if index.next_rule(packet, n) == n]
        assert index.next_rule(packet, at) == next((n for n in every if n >= at), len(rules))


def test_only_where_it_pays() -> None:
    """Not for short chains, other families, or rules without an exact value."""
    rules = recorded(False)
    assert chain_index(ChainBody(tuple(rules[: MIN_RULES - 1])), 2) is None
    assert chain_index(ChainBody(tuple(rules)), 1) is None
    keyless = [rule for n, rule in enumerate(rules) if n in build_index(ChainBody(tuple(rules)), 2).rest]
    assert chain_index(ChainBody(tuple(keyless)), 2) is None
    whole = ChainBody(tuple(rules))
    assert chain_index(whole, 2) is chain_index(whole, 2) is not None
