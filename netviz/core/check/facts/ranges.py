"""Whether the ranges of the nodes' pods are apart: those of the bridges that pods hang on.

A bridge that leads out of its node as well may carry one range over several nodes by design, so it is left out.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from netviz.core.check.fact import Fact, Look, Table, rests_on
from netviz.core.check.problem import Command, Problem, Where
from netviz.core.check.wiring import Wiring, global_addr
from netviz.core.model.addr import format_prefix
from netviz.core.model.l3 import Addr
from netviz.core.plain import quoted

NEEDS = ("links", "addrs")
RANGES = "ranges"
# A range of a node's pods, as it is sorted: address width, first address, the one after the last, the bridge's ifname.
Range = tuple[int, int, int, str]


def ranges_of(wiring: Wiring) -> tuple[Range, ...]:
    """List the ranges of a node's bridges that pods, and nothing else, hang on."""
    root = wiring.root
    if root is None:
        return ()
    ports: dict[int, set[bool]] = {}
    for link in root.links.values():
        if link.master:
            ports.setdefault(link.master, set()).add(link.ifindex in wiring.pairs)
    found = [
        _range(addr, bridge.ifname)
        for addr in root.addrs.values()
        if ports.get(addr.ifindex) == {True} and global_addr(addr)
        for bridge in (root.links.get(addr.ifindex),)
        if bridge is not None and bridge.kind == "bridge"
    ]
    return tuple(sorted(set(found)))


def _range(addr: Addr, dev: str) -> Range:
    size = 1 << len(addr.addr) * 8 - addr.prefixlen
    first = int.from_bytes(addr.addr, "big") // size * size
    return len(addr.addr), first, first + size, dev


def _text(width: int, first: int, end: int) -> str:
    return format_prefix(first.to_bytes(width, "big"), width * 8 + 1 - (end - first).bit_length())


def _build(wiring: Wiring) -> dict[Hashable, tuple[Range, ...]]:
    found = ranges_of(wiring)
    return {RANGES: found} if found else {}


def _find(look: Look) -> Iterator[Problem]:
    look.judged = len(ranges_of(look.wiring))
    return iter(())


def _judge(_: Hashable, held: list[tuple[str, tuple[Range, ...]]]) -> Iterator[Problem]:
    """A range is named beside one other only, so that n nodes with the same one make n - 1 problems."""
    everything = sorted((*one, node) for node, mine in held for one in mine)
    around: list[tuple[int, int, int, str, str]] = []  # those before that may reach into the next
    for width, first, end, dev, node in everything:
        around = [one for one in around if one[0] == width and one[2] > first]
        other = next((one for one in around if one[4] != node), None)
        if other is not None:
            yield _overlap(node, _text(width, first, end), dev, other[4], _text(*other[:3]))
        else:
            around.append((width, first, end, dev, node))


def _overlap(node: str, text: str, dev: str, owner: str, theirs: str) -> Problem:
    same = f"{owner} has the same range" if text == theirs else f"{owner} has {theirs}"
    return Problem(
        kind="overlapping-ranges",
        cause=f"{node}:{text}",
        severity="error",
        harm="breaks traffic",
        headline=f"{dev} on {node} has the range {text} for its pods, but {same}",
        consequence=f"Other nodes can have only one route for an address: pods of {node} or of {owner} aren't reached.",
        where=Where(node, "", dev),
        check=tuple(Command(one, "", f"ip addr show {quoted(dev)}") for one in (node, owner)),
        rests_on=rests_on((node, owner), NEEDS),
    )


FACT = Fact(
    name="ranges",
    demands="The pods of each node have a range of their own.",
    unit="ranges",
    kinds=("overlapping-ranges",),
    needs=NEEDS,
    find=_find,
    table=Table("ranges", NEEDS, _build),
    across=_judge,
)
