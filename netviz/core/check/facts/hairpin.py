"""Whether the ports of one bridge are alike in what they send back by where it came from (hairpin mode)."""

from __future__ import annotations

from collections.abc import Iterator

from netviz.core.check.fact import Fact, Look
from netviz.core.check.problem import Problem
from netviz.core.check.text import affects, command, place
from netviz.core.plain import quoted
from netviz.core.sim.trace import pod_name


def _find(look: Look) -> Iterator[Problem]:
    root = look.root
    if root is None:
        return
    for ifindex, pairs in look.wiring.bridged.items():
        if ifindex not in root.links:
            continue
        ports = [(pair, pair.host.port) for pair in pairs if pair.host.port is not None]
        look.judged += len(ports)
        without = [pair for pair, port in ports if not port.hairpin]
        if not without or len(without) * 2 >= len(ports):
            continue
        bridge = root.links[ifindex].ifname
        for pair in without:
            name, dev = pod_name(pair.ns.netns) or pair.ns.netns.name, pair.host.ifname
            yield Problem(
                kind="hairpin-off",
                cause=f"{root.key}:{dev}",
                severity="warning",
                harm="degrades",
                headline=f"{dev} of {name} on {root.key.node} has no hairpin mode, unlike the other ports"
                f" of {bridge}",
                consequence=f"Whenever a service leads {name} to itself, it gets no answer.",
                where=place(root.netns, pair.host),
                affects=affects([pod_name(pair.ns.netns)]),
                check=(command(root.netns, f"bridge -d link show dev {quoted(dev)}"),),
                fix=(command(root.netns, f"bridge link set dev {quoted(dev)} hairpin on"),),
                rests_on=look.rests_on(),
                grace_s=3.0,
            )


FACT = Fact(
    name="bridge ports",
    demands="The ports of one bridge have the same hairpin mode.",
    unit="ports",
    kinds=("hairpin-off",),
    needs=("links",),
    find=_find,
)
