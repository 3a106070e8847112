"""A node without a policy rule that the others have, though it has the rule's table."""

from __future__ import annotations

from netviz.core.model.addr import pack_ip
from tests.core.check.judging import kinds, only
from tests.core.sim.build import Net, textbook

POD_RANGE = {"dst": pack_ip("10.1.0.0"), "dst_len": 16, "table_id": 100}


def ruled(*nodes: int, tables: tuple[int, ...] = (1, 2, 3)) -> Net:
    """Three nodes with table 100, of which some have the rule that leads their pods there."""
    net, made = textbook(3, 1)
    for n in (1, 2, 3):
        if n in tables:
            made[f"node-{n}"].route("10.1.0.0/16", "192.168.0.254", table_id=100)
        if n in nodes:
            made[f"node-{n}"].rule(1000, src=pack_ip(f"10.1.{n}.0"), src_len=24, **POD_RANGE)
    return net


def test_a_rule_that_one_node_lacks() -> None:
    problem = only(ruled(1, 3))
    assert (
        problem.headline
        == "node-2 lacks policy rule 1000 (from its own to 10.1.0.0/16, lookup 100), which 2 other nodes have"
    )
    assert (problem.where.node, problem.certainty) == ("node-2", "likely")
    assert [one.command for one in problem.check] == ["ip rule", "ip route show table 100"]


def test_rules_that_all_or_few_have_and_nodes_without_the_table_are_no_problem() -> None:
    assert kinds(ruled(1, 2, 3)) == kinds(ruled(1)) == kinds(ruled()) == []
    assert kinds(ruled(1, 3, tables=(1, 3))) == []
