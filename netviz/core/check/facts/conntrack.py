"""Whether conntrack leads flows to addresses that nobody has any more, and whether its table is full.

A UDP flow keeps its translation as long as packets come: when the endpoint is gone, every packet of the flow is lost,
though the rules name the new endpoint. A TCP connection to an endpoint that is gone ends by itself.

Source: net/netfilter/nf_conntrack_core.c, __nf_conntrack_alloc (the namespace's count against nf_conntrack_max).
"""

from __future__ import annotations

from collections.abc import Iterator

from netviz.core.check.claims import CLAIMS
from netviz.core.check.fact import Fact, Look
from netviz.core.check.nobody import ASKS, nobody_has
from netviz.core.check.problem import Command, Problem
from netviz.core.check.text import affects, command, counted, place
from netviz.core.model.addr import format_ip
from netviz.core.model.conntrack import IPS_DST_NAT, CtEntry
from netviz.core.sim.packet import IPPROTO_UDP
from netviz.core.sim.trace import pod_name
from netviz.core.state.node import NetnsState

CONNTRACK_MAX = "net.netfilter.nf_conntrack_max"
NEARLY_FULL = 0.9
# kube-proxy clears such entries itself, some seconds after an endpoint is gone.
GRACE_S = 5.0


def _find(look: Look) -> Iterator[Problem]:
    root = look.root
    if root is None:
        return
    look.judged = len(root.conntrack)
    yield from _full(look, root)
    flows: dict[bytes, list[CtEntry]] = {}
    for entry in root.conntrack.values():
        if entry.proto == IPPROTO_UDP and entry.status & IPS_DST_NAT:
            flows.setdefault(entry.rsrc, []).append(entry)
    for addr, entries in flows.items():
        if nobody_has(look, root, addr):
            yield _stale(look, root, addr, entries)


def _full(look: Look, root: NetnsState) -> Iterator[Problem]:
    limit, count = root.sysctls.get(CONNTRACK_MAX), len(root.conntrack)
    if limit is None or limit.value <= 0 or count < NEARLY_FULL * limit.value:
        return
    full, node = count >= limit.value, root.key.node
    yield Problem(
        kind="conntrack-full",
        cause=node,
        severity="error" if full else "warning",
        harm="breaks traffic" if full else "at risk",
        headline=f"{node}'s conntrack table is {'full' if full else 'nearly full'}: nf_conntrack_max is {limit.value}",
        consequence="Packets of new connections are dropped."
        if full
        else "Once it is full, new connections are dropped.",
        where=place(root.netns),
        affects=affects(pod_name(pod.netns) for pod in look.wiring.pods),
        check=(command(root.netns, "conntrack -C"),),
        fix=(command(root.netns, f"sysctl -w {CONNTRACK_MAX}={limit.value * 2}"),),
        rests_on=look.rests_on(),
    )


def _stale(look: Look, root: NetnsState, addr: bytes, entries: list[CtEntry]) -> Problem:
    node, text = root.key.node, format_ip(addr)
    first = min(entries, key=lambda entry: (entry.odst, entry.odport))
    asked = f"[{format_ip(first.odst)}]" if len(first.odst) == 16 else format_ip(first.odst)
    family = "-f ipv6 " if len(addr) == 16 else ""
    senders = {
        pod_name(claim.netns)
        for entry in entries
        for _, mine in look.find(CLAIMS, entry.osrc)
        for claim in mine
    }
    orig = dict.fromkeys((entry.odst, entry.odport) for entry in sorted(entries, key=lambda one: one.key))
    fix: list[Command] = [
        command(root.netns, f"conntrack {family}-D -p udp --orig-dst {format_ip(dst)} --reply-src {text}")
        for dst in dict.fromkeys(dst for dst, _ in orig)
    ]
    return Problem(
        kind="stale-conntrack",
        cause=f"{node}:{text}",
        severity="error",
        harm="breaks traffic",
        headline=f"{node}'s conntrack leads {counted(len(entries), 'UDP flow')} for {asked}:{first.odport}"
        f" to {text}, which nobody has",
        consequence="These flows get no answer as long as they send; new flows take what the rules say now.",
        where=place(root.netns),
        affects=affects(senders),
        check=(command(root.netns, f"conntrack {family}-L -p udp --reply-src {text}"),),
        fix=tuple(fix),
        rests_on=look.rests_on(),
        grace_s=GRACE_S,
    )


FACT = Fact(
    name="conntrack",
    demands="No tracked flow is led to an address that nobody has, and there is room for new ones.",
    unit="entries",
    kinds=("stale-conntrack", "conntrack-full"),
    needs=("conntrack", "links", "addrs", "routes", "rules"),
    reads=("sysctls",),
    find=_find,
    asks=ASKS,
    lazy=True,
)
