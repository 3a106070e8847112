"""Whether the ends of tunnels fit each other: VNI, port, keys, and where each says that the other is.

    node1 flannel.1  --- entry: MAC of node2's end is behind 172.30.0.12 --->  node2 flannel.1, at 172.30.0.12

Tunnels with many ends (VXLAN, Geneve) have the same name on every node: those of one name must have one VNI and one
port. Tunnels with one remote are held to what the remote has.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Iterator

import msgspec

from netviz.core.check.claims import CLAIMS
from netviz.core.check.fact import Fact, Look, Table, rests_on
from netviz.core.check.problem import Affects, Command, Edit, Problem, Where
from netviz.core.check.tables import PODS
from netviz.core.check.text import affects, command, counted, place
from netviz.core.check.wiring import Wiring
from netviz.core.model.addr import format_ip, format_mac
from netviz.core.model.ids import NetnsKey
from netviz.core.model.l2 import Fdb
from netviz.core.model.link import AnyKindInfo, Link, TunnelInfo, VxlanInfo, WireguardInfo, WireguardPeer
from netviz.core.plain import quoted
from netviz.core.sim.node_index import TUNNEL_KINDS
from netviz.core.sim.route.saddr import is_multicast
from netviz.core.sim.trace import pod_name
from netviz.core.state.node import NetnsState

NEEDS = ("links", "addrs", "fdb")


class End(msgspec.Struct, frozen=True, gc=False):
    """One end of a tunnel in a node's own namespace. `addrs` are the node's own addresses, `pods` its pods."""

    netns: NetnsKey
    link: Link
    addrs: tuple[bytes, ...]
    pods: tuple[str, ...]


def _ends(wiring: Wiring) -> dict[Hashable, tuple[End, ...]]:
    """Map a tunnel device's name, its MAC (bytes alone), and the node's addresses to the ends."""
    root = wiring.root
    found: dict[Hashable, tuple[End, ...]] = {}
    links = [link for link in root.links.values() if link.kind in TUNNEL_KINDS] if root is not None else []
    if root is None or not links:
        return found
    tunnels = {link.ifindex for link in links}
    addrs = tuple(sorted({addr.addr for addr in root.addrs.values() if addr.ifindex not in tunnels}))
    pods = tuple(pod_name(pod.netns) for pod in wiring.pods)
    for link in links:
        end = End(root.key, link, addrs, pods)
        keys: list[Hashable] = [("name", link.ifname), *(("at", addr) for addr in addrs)]
        if len(link.mac) == 6:
            keys.append(link.mac)
        for key in keys:
            found[key] = (*found.get(key, ()), end)
    return found


ENDS: Table[tuple[End, ...]] = Table("tunnel ends", ("netns", "links", "addrs"), _ends)


def _settings(info: AnyKindInfo | None) -> tuple[tuple[str, int], ...]:
    """What all ends of a tunnel with many ends have in common."""
    if isinstance(info, VxlanInfo | TunnelInfo) and not (any(info.remote) and not is_multicast(info.remote)):
        return (
            (("VNI", info.vni), ("port", info.port)) if not info.collect_metadata else (("port", info.port),)
        )
    return ()


def _judge(key: Hashable, held: list[tuple[str, tuple[End, ...]]]) -> Iterator[Problem]:
    if not isinstance(key, tuple) or key[0] != "name" or len(held) < 2:
        return
    ends = [(mine[0], _settings(mine[0].link.info)) for _, mine in held]
    ends = [end for end in ends if end[1]]
    counts = Counter(settings for _, settings in ends)
    if len(counts) < 2:
        return
    usual = max(counts, key=lambda settings: (counts[settings], [-number for _, number in settings]))
    others = [end for end, settings in ends if settings == usual]
    for end, settings in ends:
        differing = [
            (what, mine, theirs)
            for (what, mine), (_, theirs) in zip(settings, usual, strict=False)
            if mine != theirs
        ]
        for what, mine, theirs in differing:
            yield _unlike(end, what, mine, theirs, others)


def _unlike(end: End, what: str, mine: int, theirs: int, others: list[End]) -> Problem:
    node, link = end.netns.node, end.link
    info = link.info
    assert isinstance(info, VxlanInfo | TunnelInfo)
    right = msgspec.structs.replace(info, **{what.lower(): theirs})
    there = [pod for other in others for pod in other.pods]
    return Problem(
        kind="tunnel-mismatch",
        cause=f"{node}:{link.ifname}:{what}",
        severity="error",
        harm="breaks traffic",
        headline=f"{link.ifname} on {node} has {what} {mine}, but on {counted(len(others), 'other node')} it has {theirs}",
        consequence=f"Each end drops what the other sends: by it, {node} reaches no other node, and none reaches {node}.",
        where=Where(node, "", link.ifname, str(end.netns)),
        both=f"{node}:{what}:{mine}:{theirs}",  # of the tunnels for either family
        affects=affects((*end.pods, *there), pairs=2 * len(end.pods) * len(there)),
        check=(Command(node, "", f"ip -d link show {quoted(link.ifname)}"),),
        rests_on=rests_on((node,), NEEDS),
        repair=(Edit(end.netns, "links", link.ifindex, msgspec.structs.replace(link, info=right)),),
    )


def _find(look: Look) -> Iterator[Problem]:
    root = look.root
    if root is None:
        return
    found = look.recall()
    for link in root.links.values():
        if link.kind in TUNNEL_KINDS:
            look.judged += look.only is None
            for remote, problem in _of_link(look, root, link):
                found.setdefault(("at", remote), []).append(problem)
    for entry in root.fdb.values():
        if entry.dst and not entry.master and look.asks_again(entry.mac):
            look.judged += look.only is None
            owners = look.find(ENDS, entry.mac)
            if owners and not any(entry.dst in end.addrs for _, ends in owners for end in ends):
                found.setdefault(entry.mac, []).extend(_wrong_entry(look, root, entry, owners))
    for problems in found.values():
        yield from problems


def _of_link(look: Look, root: NetnsState, link: Link) -> Iterator[tuple[bytes, Problem]]:
    """Hold a tunnel's device to its remotes: each problem with the remote that it is about."""
    info = link.info
    if isinstance(info, WireguardInfo):
        for peer in info.peers:
            if peer.endpoint and look.asks_again(("at", peer.endpoint)):
                yield from ((peer.endpoint, problem) for problem in _peer(look, root, link, peer))
    elif (
        isinstance(info, VxlanInfo | TunnelInfo)
        and any(info.remote)
        and not is_multicast(info.remote)
        and look.asks_again(("at", info.remote))
    ):
        yield from ((info.remote, problem) for problem in _remote(look, root, link, info))


def _wrong_entry(
    look: Look, root: NetnsState, entry: Fdb, owners: list[tuple[str, tuple[End, ...]]]
) -> Iterator[Problem]:
    """A forwarding entry of a VXLAN device that leads elsewhere than to the node whose end has the MAC."""
    link = root.links.get(entry.ifindex)
    ends = [(node, end) for node, mine in owners for end in mine if node != root.key.node]
    if link is None or not ends:
        return
    node, end = ends[0]
    info = end.link.info
    right = info.local if isinstance(info, VxlanInfo | TunnelInfo) else b""
    remote, dev, mac = format_ip(entry.dst), quoted(link.ifname), format_mac(entry.mac)
    mended = msgspec.structs.replace(entry, dst=right)
    yield Problem(
        kind="tunnel-wrong-remote",
        cause=f"{root.key.node}:{link.ifname}:{mac}",
        both=f"{root.key.node}:{node}",
        severity="error",
        harm="breaks traffic",
        headline=f"{link.ifname} on {root.key.node} sends what is for {node} to {remote}, which isn't {node}'s address",
        consequence=f"Nothing that goes through the tunnel reaches {node} from {root.key.node}.",
        where=place(root.netns, link),
        affects=_between(look, root.key.node, node),
        check=(command(root.netns, f"bridge fdb show dev {dev}"),),
        fix=(command(root.netns, f"bridge fdb replace {mac} dev {dev} dst {format_ip(right)}"),)
        if right
        else (),
        rests_on=look.rests_on(node),
        repair=(Edit(root.key, "fdb", entry.key), Edit(root.key, "fdb", mended.key, mended)) if right else (),
    )


def _remote(look: Look, root: NetnsState, link: Link, info: VxlanInfo | TunnelInfo) -> Iterator[Problem]:
    """A tunnel with one remote: the node that has its address has the other end, with the same settings."""
    owners = look.find(ENDS, ("at", info.remote))
    claims = [claim for _, mine in look.find(CLAIMS, info.remote) for claim in mine if claim.rank == "node"]
    if not owners and not claims:
        return  # somebody whom netviz doesn't know
    node = owners[0][0] if owners else claims[0].netns.key.node
    ends = [end.link for _, mine in owners for end in mine if end.link.kind == link.kind]
    back = [end for end in ends if _takes(end.info, info)]
    if any(_differing(end, link) == "" for end in back):
        return
    what = "no end of it" if not back else _differing(back[0], link)
    yield _misfit(look, root, link, node, f"{node} has {what}", format_ip(info.remote))


def _takes(info: AnyKindInfo | None, mine: VxlanInfo | TunnelInfo) -> bool:
    """Tell whether an end may be the other end of a tunnel: it leads back, or to anybody."""
    if not isinstance(info, VxlanInfo | TunnelInfo):
        return False
    return not any(info.remote) or not any(mine.local) or info.remote == mine.local


def _differing(end: Link, link: Link) -> str:
    """Say what of the other end doesn't fit, or ""."""
    one, other = end.info, link.info
    if not isinstance(one, VxlanInfo | TunnelInfo) or not isinstance(other, VxlanInfo | TunnelInfo):
        return ""
    if link.kind in ("vxlan", "geneve"):
        if one.vni != other.vni and not one.collect_metadata:
            return f"VNI {one.vni} there, not {other.vni}"
        return f"port {one.port} there, not {other.port}" if one.port != other.port else ""
    if isinstance(one, TunnelInfo) and isinstance(other, TunnelInfo) and one.ikey != other.okey:
        return f"key {one.ikey} there, not {other.okey}"
    return ""


def _peer(look: Look, root: NetnsState, link: Link, peer: WireguardPeer) -> Iterator[Problem]:
    owners = [
        (node, end.link.info)
        for node, ends in look.find(ENDS, ("at", peer.endpoint))
        for end in ends
        if isinstance(end.link.info, WireguardInfo)
    ]
    fits = any(one.listen_port == peer.port and one.public_key == peer.public_key for _, one in owners)
    if owners and not fits:
        node, one = owners[0]
        what = "another key" if one.listen_port == peer.port else f"port {one.listen_port}, not {peer.port}"
        yield _misfit(look, root, link, node, f"{node}'s end has {what}", format_ip(peer.endpoint))


def _between(look: Look, node: str, other: str) -> Affects:
    """The pods of two nodes, and all pairs between these."""
    mine = [name for _, names in look.find(PODS, node) for name in names]
    theirs = [name for _, names in look.find(PODS, other) for name in names]
    return affects([*mine, *theirs], pairs=2 * len(mine) * len(theirs) if node != other else 0)


def _misfit(look: Look, root: NetnsState, link: Link, node: str, what: str, remote: str) -> Problem:
    return Problem(
        kind="tunnel-misfit",
        cause=f"{root.key.node}:{link.ifname}:{remote}",
        severity="error",
        harm="breaks traffic",
        headline=f"{link.ifname} on {root.key.node} leads to {remote}, but {what}",
        consequence=f"Nothing passes the tunnel from {root.key.node} to {node}.",
        where=place(root.netns, link),
        affects=_between(look, root.key.node, node),
        check=(
            command(root.netns, f"ip -d link show {quoted(link.ifname)}"),
            Command(node, "", "ip -d link"),
        ),
        rests_on=look.rests_on(node),
    )


FACT = Fact(
    name="tunnels",
    demands="The ends of every tunnel fit each other.",
    unit="ends and entries",
    kinds=("tunnel-mismatch", "tunnel-wrong-remote", "tunnel-misfit"),
    needs=NEEDS,
    find=_find,
    asks=(ENDS, CLAIMS, PODS),
    by_key=ENDS,
    table=ENDS,
    across=_judge,
)
