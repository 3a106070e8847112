"""Matches whose answer the kernel draws, or takes from what it counted and the state doesn't hold.

`statistic` branches with its odds. The others are UNKNOWN where the state doesn't tell, and the run forks;
lists that the packet itself was put on or taken off are remembered for the rest of the run.

Source: net/netfilter/xt_statistic.c, xt_recent.c, xt_nfacct.c; each function names its own (Linux 6.18).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from netviz.core.sim.nft.compat.answers import invert_known, tri
from netviz.core.sim.nft.context import Context, Tri
from netviz.core.sim.packet import IPPROTO_TCP, TH_SYN
from netviz.core.sim.xtables import payloads

RECENT_CHECK, RECENT_SET, RECENT_UPDATE, RECENT_REMOVE, RECENT_TTL = 1, 2, 4, 8, 16
ALL_MONTHDAYS, ALL_WEEKDAYS, LAST_SECOND, LAST_DATE = 0xFFFFFFFE, 0xFE, 24 * 3600 - 1, 0x7FFFFFFF
QUOTA_FLAGS = 3


def statistic(ctx: Context, a: payloads.Statistic) -> Tri:
    """Branch over both answers. Source: net/netfilter/xt_statistic.c, statistic_mt."""
    chance = 1 / a.every if a.nth else a.probability
    if a.invert:
        chance = 1 - chance
    if chance <= 0 or chance >= 1:
        return tri(chance >= 1)
    key = ("statistic", ctx.ns.key, ctx.rule_id, ctx.packet.tuples())
    return tri(ctx.run.choose(key, 2, (chance, 1 - chance)) == 0)


def recent(ctx: Context, a: payloads.Recent) -> Tri:
    """Put the address on a list, take it off, or ask for it.

    Source: net/netfilter/xt_recent.c, recent_mt.
    """
    addr = ctx.packet.dst if a.side else ctx.packet.src
    listed = ("recent", ctx.ns.key, a.name)
    key = (*listed, addr)
    memory = ctx.run.memory
    stamps = memory.rule_scratch.get(key)
    if a.check & RECENT_SET:
        ctx.run.memory = memory.with_scratch(key, (stamps or 0) + 1)
        return tri(not a.invert)
    if a.check & RECENT_REMOVE:
        # the list's mask may make other addresses the same
        kept = {
            one: value
            for one, value in memory.rule_scratch.items()
            if not (isinstance(one, tuple) and one[:3] == listed)
        }
        ctx.run.memory = memory.but(rule_scratch={**kept, key: 0})
        return Tri.UNKNOWN if stamps is None else tri((stamps > 0) != a.invert)
    if stamps is None or a.check & RECENT_TTL:
        return Tri.UNKNOWN
    if not stamps:
        return tri(a.invert)
    if stamps < a.hits:
        return Tri.UNKNOWN
    if a.check & RECENT_UPDATE and not a.invert:
        ctx.run.memory = memory.with_scratch(key, stamps + 1)
    return tri(not a.invert)


def nfacct(ctx: Context, a: payloads.Named) -> Tri:
    """Match always, unless the object has a quota: then once that is used up.

    Source: net/netfilter/xt_nfacct.c, nfacct_mt; nfnetlink_acct.c, nfnl_acct_overquota.
    """
    found = ctx.ns.nfaccts.get(a.name)
    return Tri.UNKNOWN if found is None or found.flags & QUOTA_FLAGS else Tri.TRUE


def time(ctx: Context, a: payloads.Time) -> Tri:
    """Match always where every time is in range; what time it will be isn't known.

    Source: net/netfilter/xt_time.c, time_mt.
    """
    ever = a.date[0] == 0 and a.date[1] >= LAST_DATE and a.daytime == (0, LAST_SECOND)
    always = ever and a.monthdays == ALL_MONTHDAYS and a.weekdays == ALL_WEEKDAYS
    return Tri.TRUE if always else Tri.UNKNOWN


def osf(ctx: Context, a: payloads.OsfGenre) -> Tri:
    """Look at a SYN's fingerprint, by a table that the state doesn't hold. Source: net/netfilter/xt_osf.c."""
    syn = ctx.packet.proto == IPPROTO_TCP and bool(ctx.packet.tcp_flags & TH_SYN)
    return Tri.UNKNOWN if syn else invert_known(Tri.FALSE, False)


def unknown(_ctx: Context, _a: Any) -> Tri:
    """Depend on what nobody can know: a rate, a processor, a byte count, a program."""
    return Tri.UNKNOWN


MATCHES: dict[str, Callable[[Context, Any], Tri]] = {
    "statistic": statistic,
    "recent": recent,
    "nfacct": nfacct,
    "time": time,
    "osf": osf,
    **dict.fromkeys(("limit", "hashlimit", "quota", "cpu", "rateest", "bpf", "realm"), unknown),
}
