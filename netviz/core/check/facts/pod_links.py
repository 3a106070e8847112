"""Whether each pod's link works, and ends where its gateway is.

    pod eth0 --- vethX (the host end) --- cni0, the bridge with the gateway's address

The host end is a port of the bridge that has the gateway's address, or (without a bridge) has a route to the pod itself.
"""

from __future__ import annotations

from collections.abc import Iterator

from msgspec.structs import replace

from netviz.core.check.claims import CLAIMS
from netviz.core.check.fact import Fact, Look
from netviz.core.check.problem import Command, Problem
from netviz.core.check.repairs import put, with_addr, with_link_up
from netviz.core.check.text import affects, command, place
from netviz.core.check.wiring import Pair, default_gateways, global_addr, name_of, pod_link
from netviz.core.model.addr import format_ip, format_prefix, in_prefix, mask_ip
from netviz.core.model.l2 import NUD_PERMANENT
from netviz.core.model.l3 import Addr
from netviz.core.model.link import BR_STATE_FORWARDING, Link
from netviz.core.plain import quoted
from netviz.core.sim import sysctl
from netviz.core.sim.trace import pod_name
from netviz.core.state.node import NetnsState

# Every pod is without a working link for a moment while it is made and ended, and a port waits for its spanning tree.
GRACE_S = 3.0
STP_GRACE_S = 35.0


def _find(look: Look) -> Iterator[Problem]:
    root = look.root
    if root is None:
        return
    subnets = _subnets(root)
    wrong: dict[int, list[tuple[NetnsState, bytes]]] = {}
    for pod in filter(look.whole, look.wiring.inside):
        link = pod_link(pod)
        pair = next((p for p in look.wiring.pairs_of.get(pod.key, ()) if p.inner is link), None)
        if pod.netns.pod is None and pair is None:
            continue  # a namespace that nobody calls a pod counts if it hangs on the node as pods do
        look.judged += 1
        if link is None or not link.up or not link.carrier:
            if pod.netns.pod is not None:
                yield _down(look, root, pod, link, pair)
        elif pair is not None:
            if (port := pair.host.port) is not None and port.state != BR_STATE_FORWARDING:
                yield _blocked(look, root, pod, pair)
            yield from _at_another_bridge(look, root, pod, pair, subnets, wrong)
            yield from _unanswered(look, root, pod, pair)
    for ifindex, found in wrong.items():
        yield _wrong_range(look, root, root.links[ifindex], found)


def who_is(ns: NetnsState) -> str:
    """Name a pod, or another namespace, in a sentence."""
    return name_of(ns.netns) or f"namespace {ns.key.ino}"


def _subnets(root: NetnsState) -> dict[int, list[Addr]]:
    found: dict[int, list[Addr]] = {}
    for addr in root.addrs.values():
        if global_addr(addr):
            found.setdefault(addr.ifindex, []).append(addr)
    return found


def _down(look: Look, root: NetnsState, pod: NetnsState, link: Link | None, pair: Pair | None) -> Problem:
    """The pod's link doesn't work; the end that was taken down is to blame."""
    name = pod_name(pod.netns)
    fix: tuple[Command, ...] = ()
    repair = with_link_up(pod, link) if link is not None else ()
    if pair is not None:
        repair += with_link_up(root, pair.host)
    if link is None:
        where, text = place(pod.netns), f"{name} on {pod.key.node} has no link but its loopback"
    elif pair is not None and not pair.host.up:
        dev = quoted(pair.host.ifname)
        where = place(root.netns, pair.host)
        text = f"{pair.host.ifname} on {root.key.node}, the host end of {name}'s {link.ifname}, is down"
        fix = (command(root.netns, f"ip link set {dev} up"),)
    else:
        where = place(pod.netns, link)
        text = f"{link.ifname} of {name} on {pod.key.node} {'has no carrier' if link.up else 'is down'}"
        if not link.up:
            fix = (command(pod.netns, f"ip link set {quoted(link.ifname)} up"),)
    at = root.netns if where.key == str(root.key) else pod.netns
    return Problem(
        kind="pod-link-down",
        cause=str(pod.key),
        severity="error",
        harm="breaks traffic",
        headline=text,
        consequence=f"Nothing reaches {name}, and nothing leaves it.",
        where=where,
        affects=affects([name]),
        check=(command(at, f"ip link show {quoted(where.dev)}" if where.dev else "ip link"),),
        fix=fix,
        rests_on=look.rests_on(),
        grace_s=GRACE_S,
        repair=repair,
    )


def _blocked(look: Look, root: NetnsState, pod: NetnsState, pair: Pair) -> Problem:
    name, dev = who_is(pod), pair.host.ifname
    return Problem(
        kind="bridge-port-blocked",
        cause=str(pod.key),
        severity="error",
        harm="breaks traffic",
        headline=f"the bridge port {dev} of {name} on {root.key.node} doesn't forward",
        consequence=f"The bridge passes on nothing from or to {name}.",
        where=place(root.netns, pair.host),
        affects=affects([pod_name(pod.netns)]),
        check=(command(root.netns, f"bridge -d link show dev {quoted(dev)}"),),
        rests_on=look.rests_on(),
        grace_s=STP_GRACE_S,
    )


def _at_another_bridge(
    look: Look,
    root: NetnsState,
    pod: NetnsState,
    pair: Pair,
    subnets: dict[int, list[Addr]],
    wrong: dict[int, list[tuple[NetnsState, bytes]]],
) -> Iterator[Problem]:
    """Compare the bridge that a pod hangs on with the gateway that it uses; note bridges of another range."""
    bridge = root.links.get(pair.host.master)
    if bridge is None or bridge.kind != "bridge":
        return
    own = subnets.get(bridge.ifindex, ())
    gateways = default_gateways(pod, pair.inner)
    if all(any(in_prefix(gateway, addr.addr, addr.prefixlen) for addr in own) for gateway in gateways):
        return
    if any(
        link.master == bridge.ifindex and link.ifindex not in look.wiring.pairs
        for link in root.links.values()
    ):
        return  # the bridge leads on to others, where the gateway may be
    for gateway in gateways:
        held = [addr.ifindex for mine in subnets.values() for addr in mine if addr.addr == gateway]
        if bridge.ifindex in held or pair.host.ifindex in held:
            continue
        if held:
            yield _wrong_bridge(look, root, pod, pair, bridge, root.links[held[0]], gateway)
            return
        if not look.find(CLAIMS, gateway):
            wrong.setdefault(bridge.ifindex, []).append((pod, gateway))


def _unanswered(look: Look, root: NetnsState, pod: NetnsState, pair: Pair) -> Iterator[Problem]:
    """A routed pod's IPv4 gateway is the host end's own address, or is answered for by proxy ARP."""
    host = pair.host
    if host.master or host.ipv4 is None or sysctl.ipv4_or(root, host, "proxy_arp"):
        return
    for gateway in default_gateways(pod, pair.inner):
        told = pod.neighs.get((pair.inner.ifindex, gateway, False))
        if len(gateway) == 16 or (told is not None and told.state & NUD_PERMANENT):
            continue
        if any(addr.addr == gateway for addr in root.addrs.values()):
            continue
        name, node, text = who_is(pod), root.key.node, format_ip(gateway)
        setting = f"net/ipv4/conf/{host.ifname}/proxy_arp"
        yield Problem(
            kind="gateway-unanswered",
            cause=str(pod.key),
            severity="error",
            harm="breaks traffic",
            headline=f"{host.ifname} on {node} doesn't answer for {name}'s gateway {text}: proxy_arp is off",
            consequence=f"{name} has no gateway: it reaches nobody, and answers nobody.",
            where=place(root.netns, host),
            affects=affects([pod_name(pod.netns)]),
            check=(command(root.netns, f"sysctl {quoted(setting)}"),),
            fix=(command(root.netns, f"sysctl -w {quoted(setting)}=1"),),
            rests_on=look.rests_on(),
            grace_s=GRACE_S,
            family="IPv4",
            repair=(put(root, "links", replace(host, ipv4=replace(host.ipv4, proxy_arp=True))),),
        )


def _wrong_bridge(
    look: Look, root: NetnsState, pod: NetnsState, pair: Pair, bridge: Link, right: Link, gateway: bytes
) -> Problem:
    name, dev, node = who_is(pod), pair.host.ifname, root.key.node
    fix = [f"ip link set {quoted(dev)} master {quoted(right.ifname)}"]
    others = [one.host.port for one in look.wiring.bridged.get(right.ifindex, ())]
    if any(port is not None and port.hairpin for port in others):  # a port that moves loses it
        fix.append(f"bridge link set dev {quoted(dev)} hairpin on")
    return Problem(
        kind="wrong-bridge",
        cause=str(pod.key),
        severity="error",
        harm="breaks traffic",
        headline=f"{dev} of {name} on {node} is a port of {bridge.ifname}, but its gateway {format_ip(gateway)}"
        f" is at {right.ifname}",
        consequence=f"What is for {name} goes to {right.ifname}, where the pod isn't.",
        where=place(root.netns, pair.host),
        affects=affects([pod_name(pod.netns)]),
        check=(command(root.netns, f"bridge link show dev {quoted(dev)}"),),
        fix=tuple(command(root.netns, one) for one in fix),
        rests_on=look.rests_on(),
        grace_s=GRACE_S,
        repair=(put(root, "links", replace(pair.host, master=right.ifindex)),),
    )


def _wrong_range(
    look: Look, root: NetnsState, bridge: Link, found: list[tuple[NetnsState, bytes]]
) -> Problem:
    """The bridge has none of the gateways that its pods use: an address of another range, or none."""
    node, dev = root.key.node, bridge.ifname
    lacking = {gateway: _length_at(pod, gateway) for pod, gateway in found}
    gateway = min(lacking, key=lambda one: (len(one), one))
    width, length = len(gateway), lacking[gateway]
    own = [
        a
        for a in root.addrs.values()
        if a.ifindex == bridge.ifindex and len(a.addr) == width and global_addr(a)
    ]
    has = format_prefix(own[0].addr, own[0].prefixlen) if own else "no address"
    theirs = format_prefix(mask_ip(gateway, length), length)
    return Problem(
        kind="bridge-wrong-range",
        cause=f"{node}:{dev}",
        severity="error",
        harm="breaks traffic",
        headline=f"{dev} on {node} has {has}, but its pods are in {theirs} with the gateway {format_ip(gateway)}",
        consequence="Nobody answers for their gateway: these pods reach nothing beyond their bridge, and aren't reached.",
        where=place(root.netns, bridge),
        affects=affects(pod_name(pod.netns) for pod, _ in found),
        check=(command(root.netns, f"ip addr show dev {quoted(dev)}"),),
        fix=tuple(
            command(root.netns, f"ip addr add {format_ip(one)}/{bits} dev {quoted(dev)}")
            for one, bits in sorted(lacking.items(), key=lambda item: (len(item[0]), item[0]))
        ),
        rests_on=look.rests_on(),
        grace_s=GRACE_S,
        repair=tuple(edit for one, bits in lacking.items() for edit in with_addr(root, bridge, one, bits)),
    )


def _length_at(pod: NetnsState, gateway: bytes) -> int:
    """How long the prefix is that a pod has in common with its gateway."""
    return next(
        (
            a.prefixlen
            for a in pod.addrs.values()
            if in_prefix(gateway, a.addr, a.prefixlen) and global_addr(a)
        ),
        len(gateway) * 8,
    )


FACT = Fact(
    name="pod links",
    demands="Every pod has a link that is up at both ends, on the bridge that has its gateway.",
    unit="pods",
    kinds=(
        "pod-link-down",
        "bridge-port-blocked",
        "wrong-bridge",
        "bridge-wrong-range",
        "gateway-unanswered",
    ),
    needs=("links", "addrs", "routes", "neighs", "sysctls"),
    find=_find,
    asks=(CLAIMS,),
)
