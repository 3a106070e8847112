"""Whether each node's links to the outside are up: those that it has an address or routes on."""

from __future__ import annotations

from collections.abc import Iterator

from netviz.core.check.fact import Fact, Look
from netviz.core.check.problem import Problem
from netviz.core.check.repairs import with_link_up
from netviz.core.check.text import affects, command, place
from netviz.core.check.wiring import global_addr
from netviz.core.plain import quoted
from netviz.core.sim.trace import pod_name


def _find(look: Look) -> Iterator[Problem]:
    root = look.root
    if root is None:
        return
    used = {addr.ifindex for addr in root.addrs.values() if global_addr(addr)}
    for ifindex in sorted(look.wiring.wires):
        link = root.links[ifindex]
        if not used & {ifindex, link.master} and not look.wiring.leads_on(ifindex):
            continue
        look.judged += 1
        if link.up and link.carrier:
            continue
        node, dev = root.key.node, quoted(link.ifname)
        yield Problem(
            kind="wire-down",
            cause=f"{node}:{link.ifname}",
            severity="error",
            harm="breaks traffic",
            headline=f"{link.ifname} on {node} {'has no carrier' if link.up else 'is down'}",
            consequence="Nothing is sent or received by it: who can be reached by it alone isn't reached.",
            where=place(root.netns, link),
            affects=affects(pod_name(pod.netns) for pod in look.wiring.pods),
            check=(command(root.netns, f"ip link show {dev}"),),
            fix=() if link.up else (command(root.netns, f"ip link set {dev} up"),),
            rests_on=look.rests_on(),
            repair=with_link_up(root, link),
        )


FACT = Fact(
    name="wires",
    demands="Every link by which a node reaches others is up and has a carrier.",
    unit="links",
    kinds=("wire-down",),
    needs=("links", "addrs", "routes"),
    find=_find,
)
