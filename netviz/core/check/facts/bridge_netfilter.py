"""Whether what a bridge passes on goes by the rules, where services between its pods need that.

A service's address is translated when a pod sends to it. The answer of a pod on the same bridge never leaves the bridge: it is
translated back only if bridged packets pass the IP hooks (br_netfilter).
"""

from __future__ import annotations

from collections.abc import Iterator

from netviz.core.check.fact import Fact, Look
from netviz.core.check.problem import Problem
from netviz.core.check.text import affects, command, place
from netviz.core.check.wiring import Pair, global_addr
from netviz.core.model.link import BridgeInfo
from netviz.core.model.netfilter import NFPROTO_IPV4, NFPROTO_IPV6
from netviz.core.sim import sysctl
from netviz.core.sim.trace import pod_name
from netviz.core.state.node import NetnsState

FAMILIES = ((NFPROTO_IPV4, 4, "iptables"), (NFPROTO_IPV6, 16, "ip6tables"))


def _find(look: Look) -> Iterator[Problem]:
    root = look.root
    if root is None:
        return
    bridges = {
        ifindex: pods
        for ifindex, pairs in look.wiring.bridged.items()
        if (pods := [pair for pair in pairs if pair.ns.netns.pod is not None])
    }
    look.judged = len(bridges)
    for family, width, tool in FAMILIES:
        setting = f"net.bridge.bridge-nf-call-{tool}"
        if sysctl.value(root, setting) or not _has_services(root, family):
            continue
        for ifindex, pairs in bridges.items():
            info = root.links[ifindex].info if ifindex in root.links else None
            own = isinstance(info, BridgeInfo) and getattr(info, f"nf_call_{tool}")
            mine = [pair for pair in pairs if _has_family(pair.ns, width)]
            if len(mine) > 1 and not own:
                yield _problem(look, root, ifindex, setting, mine)


def _has_services(root: NetnsState, family: int) -> bool:
    """Tell whether kube-proxy's rules are there."""
    return (
        (family, "kube-proxy", "services") in root.nft_chains
        or (family, "nat", "KUBE-SERVICES") in root.nft_chains
        or (family, "nat", "KUBE-SERVICES") in root.xt_chains
    )


def _has_family(ns: NetnsState, width: int) -> bool:
    return any(len(addr.addr) == width and global_addr(addr) for addr in ns.addrs.values())


def _problem(look: Look, root: NetnsState, ifindex: int, setting: str, pairs: list[Pair]) -> Problem:
    node, bridge = root.key.node, root.links[ifindex]
    loaded = setting in root.sysctls
    load = () if loaded else (command(root.netns, "modprobe br_netfilter"),)
    return Problem(
        kind="bridge-nf-off",
        cause=f"{node}:{bridge.ifname}:{setting}",
        severity="error",
        harm="breaks traffic",
        headline=f"what {bridge.ifname} on {node} passes on goes by no rule: {setting}"
        f" {'is 0' if loaded else 'is missing'}",
        consequence="When a service leads a pod to another one of its node, the answer comes from an address"
        " that it never asked.",
        where=place(root.netns, bridge),
        certainty="likely",
        affects=affects(pod_name(pair.ns.netns) for pair in pairs),
        check=(command(root.netns, f"sysctl {setting}"),),
        fix=(*load, command(root.netns, f"sysctl -w {setting}=1")),
        rests_on=look.rests_on(),
    )


FACT = Fact(
    name="bridge netfilter",
    demands="Bridged packets pass the rules of a node whose pods use services.",
    unit="bridges",
    kinds=("bridge-nf-off",),
    needs=("links", "addrs", "sysctls", "nft_chains", "xt_chains"),
    find=_find,
)
