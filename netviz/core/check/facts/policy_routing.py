"""Whether a node lacks a policy routing rule that most other nodes have, though it has the table that the rule leads to.

Rules for a node's own pods and addresses differ in their source alone, so that is compared by whether there is one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator, Mapping
from typing import Any

from netviz.core.check.fact import Fact, Look, Table, rests_on
from netviz.core.check.problem import Command, Problem, Where
from netviz.core.check.text import counted
from netviz.core.check.wiring import Wiring
from netviz.core.model.addr import AF_INET6, format_prefix
from netviz.core.model.l3 import FR_ACT_TO_TBL, Route, Rule
from netviz.core.sim.index import Index

NEEDS = ("rules", "routes")
RULES = "rules"
# Family, priority, table, whether it has a source, destination with its length, mark, incoming device.
Shape = tuple[int, int, int, bool, bytes, int, int, str]
_tables: Index[Mapping[Any, Route], frozenset[int]] = Index(
    lambda routes: frozenset(route.table_id for route in routes.values())
)


def _shape(rule: Rule) -> Shape:
    return (
        rule.family,
        rule.priority,
        rule.table_id,
        bool(rule.src_len),
        rule.dst,
        rule.dst_len,
        rule.fwmark,
        rule.iifname,
    )


def _build(wiring: Wiring) -> dict[str, tuple[frozenset[Shape], frozenset[int]]]:
    """A node's rules that lead to tables, and the tables that it has routes in."""
    root = wiring.root
    if root is None or not root.rules:
        return {}
    shapes = frozenset(_shape(rule) for rule in root.rules.values() if rule.action == FR_ACT_TO_TBL)
    return {RULES: (shapes, _tables(root.routes))}


def _find(look: Look) -> Iterator[Problem]:
    look.judged = len(look.root.rules) if look.root is not None else 0
    return iter(())


def _judge(_: Hashable, held: list[tuple[str, tuple[frozenset[Shape], frozenset[int]]]]) -> Iterator[Problem]:
    counts = Counter(shape for _, (shapes, _) in held for shape in shapes)
    usual = {shape for shape, count in counts.items() if len(held) > count > len(held) / 2 and count > 1}
    if not usual:
        return
    for node, (shapes, tables) in held:
        for shape in sorted(usual - shapes):
            if shape[2] in tables:
                yield _lacking(node, shape, counts[shape])


def _lacking(node: str, shape: Shape, others: int) -> Problem:
    family, priority, table, sourced, dst, dst_len, mark, iif = shape
    words = ["from its own" if sourced else "from all"]
    words += [f"to {format_prefix(dst, dst_len)}"] if dst_len else []
    words += [f"fwmark {mark:#x}"] if mark else []
    words += [f"iif {iif}"] if iif else []
    version = "-6 " if family == AF_INET6 else ""
    return Problem(
        kind="policy-rule-missing",
        cause=f"{node}:{family}:{priority}:{table}",
        severity="error",
        harm="breaks traffic",
        headline=f"{node} lacks policy rule {priority} ({' '.join(words)}, lookup {table}), which"
        f" {counted(others, 'other node')} {'has' if others == 1 else 'have'}",
        consequence=f"What the rule is for takes another way than by table {table}: other nodes may drop it,"
        " and answers may go astray.",
        where=Where(node),
        certainty="likely",
        check=(
            Command(node, "", f"ip {version}rule"),
            Command(node, "", f"ip {version}route show table {table}"),
        ),
        rests_on=rests_on((node,), NEEDS),
        grace_s=3.0,
    )


FACT = Fact(
    name="policy routing",
    demands="Nodes with the same route tables have the same rules that lead there.",
    unit="rules",
    kinds=("policy-rule-missing",),
    needs=NEEDS,
    find=_find,
    table=Table("policy rules", NEEDS, _build),
    across=_judge,
)
