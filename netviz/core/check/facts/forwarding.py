"""Whether each node forwards what its pods send beyond their bridge, and what comes for them.

The kernel asks a device whether it forwards what came in by it (IPv4), or the namespace as a whole (IPv6). IPv4's
ip_forward sets all devices when it is written, and counts for nothing else.

Source: net/ipv4/route.c, ip_route_input_slow (IN_DEV_FORWARD); net/ipv4/devinet.c, inet_forward_change; net/ipv6/ip6_output.c, ip6_forward (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec

from netviz.core.check.fact import Fact, Look
from netviz.core.check.problem import Problem
from netviz.core.check.text import affects, command, place
from netviz.core.check.wiring import Pair, default_gateways
from netviz.core.model.link import Link
from netviz.core.plain import quoted
from netviz.core.sim import sysctl
from netviz.core.sim.trace import pod_name
from netviz.core.state.node import NetnsState

IP_FORWARD, FORWARDING6 = "net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"

GRACE_S = 4.0  # the collector looks at settings that tell nobody of a change every 2 s


def _find(look: Look) -> Iterator[Problem]:
    root = look.root
    if root is None or not look.wiring.pairs:
        return
    look.judged = 1
    served = _served(look, root)
    for family in (4, 6):
        pods = [pod for pod, used in served if any((len(gateway) == 16) == (family == 6) for gateway in used)]
        if pods:
            yield from _off(look, root, family, pods)


def _served(look: Look, root: NetnsState) -> list[tuple[Pair, list[bytes]]]:
    """The pods whose gateways the node itself is, with those gateways."""
    own = {addr.addr for addr in root.addrs.values()}
    found = []
    for pair in look.wiring.pairs.values():
        if pair.ns.netns.pod is None or not look.whole(pair.ns):
            continue
        answers = bool(pair.host.ipv4 is not None and pair.host.ipv4.proxy_arp)
        used = [
            gateway
            for gateway in default_gateways(pair.ns, pair.inner)
            if gateway in own or (answers and not pair.host.master and len(gateway) == 4)
        ]
        if used:
            found.append((pair, used))
    return found


def _off(look: Look, root: NetnsState, family: int, pods: list[Pair]) -> Iterator[Problem]:
    name = FORWARDING6 if family == 6 else IP_FORWARD
    off = name in root.sysctls and not sysctl.value(root, name)
    if family == 6:
        if off:
            yield _problem(look, root, None, name, family, pods)
        return
    by_device: dict[int, list[Pair]] = {}
    for pair in pods:
        by_device.setdefault(pair.host.master or pair.host.ifindex, []).append(pair)
    used = [
        link
        for ifindex, link in sorted(root.links.items())
        if link.ipv4 is not None and (ifindex in by_device or look.wiring.leads_on(ifindex))
    ]
    stopped = [link for link in used if link.ipv4 is not None and not link.ipv4.forwarding]
    if off and stopped == used != []:
        yield _problem(look, root, None, name, family, pods)
        return
    # ip_forward sets all devices, and they tell of it at once: it is read a little later.
    grace_s = GRACE_S if stopped == used else 0.0
    for link in stopped:
        setting = f"net.ipv4.conf.{link.ifname}.forwarding"
        found = _problem(look, root, link, setting, family, by_device.get(link.ifindex, pods))
        yield msgspec.structs.replace(found, grace_s=grace_s)


def _problem(
    look: Look, root: NetnsState, link: Link | None, setting: str, family: int, pods: list[Pair]
) -> Problem:
    node = root.key.node
    what = (
        f"doesn't forward IPv{family}" if link is None else f"forwards nothing that comes in by {link.ifname}"
    )
    return Problem(
        kind="forwarding-off",
        cause=f"{node}:{setting}",
        severity="error",
        harm="breaks traffic",
        headline=f"{node} {what}: {setting} is 0",
        consequence="Its pods reach nothing beyond the node, or get no answer.",
        family="IPv6" if family == 6 else "IPv4",
        where=place(root.netns, link),
        both=node if link is None else "",
        affects=affects(pod_name(pair.ns.netns) for pair in pods),
        check=(command(root.netns, f"sysctl {quoted(setting)}"),),
        fix=(command(root.netns, f"sysctl -w {quoted(setting)}=1"),),
        rests_on=look.rests_on(),
    )


FACT = Fact(
    name="forwarding",
    demands="Every node that is its pods' gateway forwards for them.",
    unit="nodes",
    kinds=("forwarding-off",),
    needs=("links", "addrs", "routes", "sysctls"),
    find=_find,
)
