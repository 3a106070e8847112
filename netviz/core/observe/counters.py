"""Rules of legacy xtables beside what they counted between a probe's preparation and its end: nothing else says of them who met them.

A count isn't the probe's alone: what others sent counts too, and so do the later packets of the probe's own connection. So a rule
that counted just as many packets and bytes as are predicted is shown, one that counted more is ambiguous, and one that counted
nothing wasn't met. Of a table that was replaced meanwhile nothing is said. Policies are not compared.

Source: net/ipv4/netfilter/ip_tables.c, ipt_do_table (ADD_COUNTER), get_counters (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Literal

import msgspec

from netviz.core.model.ids import NetnsKey
from netviz.core.plain import counted
from netviz.core.sim.counted import deciding_rule
from netviz.core.sim.steps import ChainRef, HookVerdict, RuleHit
from netviz.core.sim.trace import Path, Step, Trace


class XtTable(msgspec.Struct, frozen=True, order=True):
    """A legacy table in a place."""

    place: str
    family: int
    name: str


class Counted(msgspec.Struct, frozen=True):
    """What a rule, by its number in its chain, counted meanwhile."""

    table: XtTable
    chain: str
    number: int
    packets: int
    bytes: int


class Counts(msgspec.Struct, frozen=True, omit_defaults=True):
    """The tables that were read before and after and were the same, and their rules that counted anything."""

    compared: tuple[XtTable, ...] = ()
    counted: tuple[Counted, ...] = ()


class Met(msgspec.Struct, frozen=True):
    """How a step's rule stands; `why` says so where it isn't shown."""

    status: Literal["agree", "ambiguous", "not_seen"]
    why: str = ""


_Key = tuple[XtTable, str, int]
_Naming = Callable[[NetnsKey], str]


def legacy_tables(trace: Trace, naming: _Naming) -> frozenset[XtTable]:
    """The legacy tables of which a trace meets rules."""
    paths = [path for branch in trace.branches for path in (branch.forward, branch.reply) if path is not None]
    return frozenset(key[0] for path in paths for _, _, keys in _rules(path, naming) for key in keys)


def met(paths: Sequence[Path], counts: Sequence[Counts], naming: _Naming) -> dict[int, Met]:
    """Lay a branch's steps, by their numbers, beside what was counted; those in tables that weren't compared are left out."""
    compared = {table for one in counts for table in one.compared}
    told = {(one.table, one.chain, one.number): one for all_ in counts for one in all_.counted}
    lengths: dict[_Key, list[int]] = {}
    rules = [found for path in paths for found in _rules(path, naming)]
    for step, _, keys in rules:
        for key in keys:
            lengths.setdefault(key, []).append((step.before or step.packet).length)
    return {
        step.seq: _stands(told.get(decided), lengths[decided])
        for step, decided, _ in rules
        if decided is not None and decided[0] in compared
    }


def _stands(one: Counted | None, lengths: Sequence[int]) -> Met:
    if one is None:
        return Met("not_seen", "the rule counted nothing")
    if (one.packets, one.bytes) == (len(lengths), sum(lengths)):
        return Met("agree")
    said = f"the rule counted {counted(one.packets, 'packet')} with {counted(one.bytes, 'byte')}"
    return Met("ambiguous", f"{said}, the probe's would be {len(lengths)} with {sum(lengths)}")


def _rules(path: Path, naming: _Naming) -> Iterator[tuple[Step, _Key | None, tuple[_Key, ...]]]:
    """Yield the steps in legacy tables: the rule that decided, and all that counted the packet there."""
    for hop in path.hops:
        place = naming(hop.netns)
        for step in hop.steps:
            found = deciding_rule(step)
            ref = found[0] if found is not None else None
            if ref is None and isinstance(step.what, HookVerdict):
                ref = step.what.chain
            if ref is None or not ref.legacy or step.action.startswith("assume"):
                continue
            decided = _key(place, ref, found[1]) if found is not None else None
            passed = step.what.matched if isinstance(step.what, HookVerdict) else ()
            keys = tuple(dict.fromkeys(_key(place, ref, hit) for hit in passed))
            yield step, decided, tuple(dict.fromkeys((*keys, decided))) if decided is not None else keys


def _key(place: str, ref: ChainRef, hit: RuleHit) -> _Key:
    return XtTable(place, ref.chain.family, ref.chain.table), hit.within, hit.number


def differences(
    table: XtTable, before: Iterable[tuple[str, int, int, int]], after: Iterable[tuple[str, int, int, int]]
) -> tuple[Counted, ...]:
    """Subtract counts: chain, rule's number, packets, bytes."""
    known = {(chain, number): (packets, size) for chain, number, packets, size in before}
    found = []
    for chain, number, packets, size in after:
        old = known.get((chain, number), (0, 0))
        if (packets, size) != old:
            found.append(Counted(table, chain, number, packets - old[0], size - old[1]))
    return tuple(found)
