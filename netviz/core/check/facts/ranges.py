"""Whether the ranges of the nodes' pods are apart: those of the bridges that pods hang on.

A bridge that leads out of its node as well may carry one range over several nodes by design, so it is left out.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from netviz.core.check.fact import Fact, Look, Table, rests_on
from netviz.core.check.problem import Command, Problem, Where
from netviz.core.check.wiring import Wiring, global_addr
from netviz.core.model.addr import format_prefix, mask_ip
from netviz.core.plain import quoted

NEEDS = ("links", "addrs")
RANGES = "ranges"
# A range of a node's pods: network, prefix length, bridge, the bridge's ifname.
Range = tuple[bytes, int, str]


def ranges_of(wiring: Wiring) -> tuple[Range, ...]:
    """List the ranges of a node's bridges that pods, and nothing else, hang on."""
    root = wiring.root
    if root is None:
        return ()
    ports: dict[int, set[bool]] = {}
    for link in root.links.values():
        if link.master:
            ports.setdefault(link.master, set()).add(link.ifindex in wiring.pairs)
    found = {
        (mask_ip(addr.addr, addr.prefixlen), addr.prefixlen, bridge.ifname)
        for addr in root.addrs.values()
        if ports.get(addr.ifindex) == {True} and global_addr(addr)
        for bridge in (root.links.get(addr.ifindex),)
        if bridge is not None and bridge.kind == "bridge"
    }
    return tuple(sorted(found))


def _build(wiring: Wiring) -> dict[Hashable, tuple[Range, ...]]:
    found = ranges_of(wiring)
    return {RANGES: found} if found else {}


def _find(look: Look) -> Iterator[Problem]:
    look.judged = len(ranges_of(look.wiring))
    return iter(())


def _judge(_: Hashable, held: list[tuple[str, tuple[Range, ...]]]) -> Iterator[Problem]:
    """A range is named beside one other only, so that n nodes with the same one make n - 1 problems."""
    everything = sorted(
        (len(net), int.from_bytes(net, "big"), length, node, dev)
        for node, mine in held
        for net, length, dev in mine
    )
    # Of ranges in order, those that are still open around the one that is looked at: (end, where, node).
    around: list[tuple[int, int, str, str]] = []
    for width, first, length, node, dev in everything:
        end = first + (1 << width * 8 - length)
        around = [one for one in around if one[0] == width and one[1] > first]
        text = format_prefix(first.to_bytes(width, "big"), length)
        other = next((one for one in around if one[2] != node), None)
        if other is not None:
            yield _overlap(node, text, dev, other[2], other[3])
        else:
            around.append((width, end, node, text))


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
