"""Whether static forwarding entries of bridges lead to the port behind which the MAC address really is."""

from __future__ import annotations

from collections.abc import Iterator

from netviz.core.check.fact import Fact, Look
from netviz.core.check.problem import Problem
from netviz.core.check.text import affects, command, place
from netviz.core.check.wiring import Pair, name_of
from netviz.core.model.addr import format_mac
from netviz.core.model.l2 import NUD_NOARP, Fdb
from netviz.core.model.link import Link
from netviz.core.plain import quoted
from netviz.core.sim.trace import pod_name
from netviz.core.state.node import NetnsState


def _find(look: Look) -> Iterator[Problem]:
    root = look.root
    if root is None:
        return
    behind: dict[tuple[int, bytes], Pair] = {
        (pair.host.master, pair.inner.mac): pair
        for pair in look.wiring.pairs.values()
        if pair.host.master and look.whole(pair.ns)
    }
    for entry in root.fdb.values():
        if not entry.master or not entry.state & NUD_NOARP:
            continue  # a tunnel's own, the ports' own addresses, and what was learned: that corrects itself
        look.judged += 1
        pair, port = behind.get((entry.master, entry.mac)), root.links.get(entry.ifindex)
        if pair is not None and port is not None and pair.host.ifindex != entry.ifindex:
            yield _problem(look, root, entry, port, pair)


def _problem(look: Look, root: NetnsState, entry: Fdb, port: Link, pair: Pair) -> Problem:
    node, mac = root.key.node, format_mac(entry.mac)
    name = name_of(pair.ns.netns) or f"namespace {pair.ns.key.ino}"
    bridge = root.links[entry.master].ifname if entry.master in root.links else "its bridge"
    return Problem(
        kind="wrong-fdb",
        cause=f"{root.key}:{port.ifname}:{mac}",
        severity="error",
        harm="breaks traffic",
        headline=f"a static entry of {bridge} on {node} sends what is for {name} to {port.ifname},"
        f" not to {pair.host.ifname}",
        consequence=f"Frames for {mac} go to a port that {name} isn't behind.",
        where=place(root.netns, port),
        affects=affects([pod_name(pair.ns.netns)]),
        check=(command(root.netns, f"bridge fdb show dev {quoted(port.ifname)}"),),
        fix=(command(root.netns, f"bridge fdb del {mac} dev {quoted(port.ifname)} master static"),),
        rests_on=look.rests_on(),
    )


FACT = Fact(
    name="forwarding entries",
    demands="Every static entry of a bridge leads to the port that the MAC address is behind.",
    unit="entries",
    kinds=("wrong-fdb",),
    needs=("links", "fdb"),
    find=_find,
)
