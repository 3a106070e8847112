"""Whether programs are attached to single links that their like don't have: XDP, or filters of tc.

What a program does isn't known. A network that works by programs (Cilium's) has them on all links of a sort: only
what is there on the fewer of them is told.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterable, Iterator

from netviz.core.check.fact import Fact, Look, Table, rests_on
from netviz.core.check.problem import Command, Problem, Where
from netviz.core.check.text import affects, counted
from netviz.core.check.wiring import Wiring
from netviz.core.model.link import Link
from netviz.core.plain import quoted
from netviz.core.sim.trace import pod_name

NEEDS = ("links",)
Attached = tuple[str, ...]


def _attached(link: Link) -> Attached:
    """Name what is attached to a link: its programs by hook and name, or only its hooks where those weren't read."""
    if link.programs is not None:
        return tuple(
            "an XDP program" if one.hook == "xdp" else f"the {one.hook} program {one.name or one.id}"
            for one in link.programs
        )
    return ("an XDP program",) * bool(link.xdp) + tuple(f"the tc hook {name}" for name in link.tc)


def _odd(links: Iterable[tuple[str, str, Attached]]) -> Iterator[tuple[str, str, str, int]]:
    """Yield (node, ifname, what, how many) for what less than half of so many links have."""
    every = list(links)
    counts = Counter(what for _, _, attached in every for what in attached)
    for node, dev, attached in every:
        for what in attached:
            if counts[what] * 2 < len(every):
                yield node, dev, what, len(every)


def _find(look: Look) -> Iterator[Problem]:
    root = look.root
    if root is None:
        return
    pairs = {pair.host.ifname: pair for pair in look.wiring.pairs.values()}
    look.judged = len(pairs) + len(look.wiring.wires)
    links = ((root.key.node, name, _attached(pair.host)) for name, pair in pairs.items())
    for node, dev, what, number in _odd(links):
        pod = pod_name(pairs[dev].ns.netns)
        yield _problem(node, dev, what, f"its {counted(number, 'pod link')}", pod)


def _wires(wiring: Wiring) -> dict[str, tuple[tuple[str, Attached], ...]]:
    root = wiring.root
    if root is None or not wiring.wires:
        return {}
    return {"wires": tuple((root.links[i].ifname, _attached(root.links[i])) for i in sorted(wiring.wires))}


def _judge(_: Hashable, held: list[tuple[str, tuple[tuple[str, Attached], ...]]]) -> Iterator[Problem]:
    links = [(node, dev, attached) for node, mine in held for dev, attached in mine]
    for node, dev, what, _number in _odd(links):
        yield _problem(node, dev, what, "the nodes' links", "")


def _problem(node: str, dev: str, what: str, others: str, pod: str) -> Problem:
    whose = f"{pod}'s" if pod else "the node's"
    xdp = "XDP" in what
    return Problem(
        kind="program-attached",
        cause=f"{node}:{dev}:{what}",
        severity="warning",
        harm="not known",
        headline=f"{dev} on {node} has {what}, most of {others} have none",
        consequence=f"What it does isn't known: it may drop or change {whose} packets before anything else sees them.",
        where=Where(node, "", dev),
        affects=affects([pod]),
        check=(
            Command(
                node,
                "",
                _command(what, quoted(dev)),
            ),
        ),
        fix=(Command(node, "", f"ip link set {quoted(dev)} xdp off"),) if xdp else (),
        rests_on=rests_on((node,), NEEDS),
    )


def _command(what: str, dev: str) -> str:
    if "XDP" in what:
        return f"ip -d link show {dev}"
    if "tcx/" in what or "netkit/" in what:
        return f"bpftool net show dev {dev}"
    return f"tc filter show dev {dev} {'egress' if 'egress' in what else 'ingress'}"


FACT = Fact(
    name="programs",
    demands="Links of one sort have the same programs attached.",
    unit="links",
    kinds=("program-attached",),
    needs=NEEDS,
    find=_find,
    table=Table("programs on wires", NEEDS, _wires),
    across=_judge,
)
