"""Where in the kernel a step would be seen, by a name of a closed list; None where nothing shows it.

Tracepoints: net:net_dev_xmit for each device that sends, net:netif_receive_skb for each whose receive path starts,
fib:fib_table_lookup and fib6:fib6_table_lookup, skb:kfree_skb with the drop reason. A chain's verdict shows in
nftables' trace at its hook, a new connection as an event of conntrack.

Source: net/core/dev.c, xmit_one, __netif_receive_skb_core; net/ipv4/fib_trie.c, fib_table_lookup; net/ipv6/route.c,
ip6_pol_route; net/core/skbuff.c, sk_skb_reason_drop; net/netfilter/nf_conntrack_core.c, __nf_conntrack_confirm
(Linux 6.18).
"""

from __future__ import annotations

from typing import Literal

import msgspec

from netviz.core.sim.steps.encap import Decap, Encap
from netviz.core.sim.steps.hook import HookVerdict
from netviz.core.sim.steps.inet import Conntrack
from netviz.core.sim.steps.link import Receive, Transmit
from netviz.core.sim.steps.route import RouteLookup
from netviz.core.sim.trace import Step

Point = Literal[
    "net:net_dev_xmit",
    "net:netif_receive_skb",
    "fib:fib_table_lookup",
    "fib6:fib6_table_lookup",
    "skb:kfree_skb",
    "nftables trace",
    "conntrack event",
]


class SeenAt(msgspec.Struct, frozen=True):
    """A place in the kernel; for a hook its name, and the chain's priority; for skb:kfree_skb the reason."""

    point: Point
    hook: str = ""
    priority: int = 0
    reason: str = ""


def seen_at(step: Step) -> SeenAt | None:
    """Return where a step would be seen; a drop by a chain shows there, others in skb:kfree_skb."""
    what = step.what
    if isinstance(what, HookVerdict):
        if what.chain is None or what.chain.legacy or not what.hook:
            return None
        return SeenAt("nftables trace", what.hook, what.chain.chain.priority)
    if what.action == "drop":
        kernel = getattr(what, "kernel_reason", "") or step.reason
        return SeenAt("skb:kfree_skb", reason=kernel) if kernel and not _fails_at_send(step) else None
    if what.action == "unknown":
        return None
    return _passing(step)


def _fails_at_send(step: Step) -> bool:
    """Tell whether there is no packet yet: its socket's system call fails."""
    return bool(getattr(step.what, "errno", "")) and getattr(step.what, "asked", "out") == "out"


def _passing(step: Step) -> SeenAt | None:
    what = step.what
    if isinstance(what, Transmit):
        return SeenAt("net:net_dev_xmit")
    if isinstance(what, Receive):
        return None if what.again else SeenAt("net:netif_receive_skb")
    if isinstance(what, Encap):
        return SeenAt("net:net_dev_xmit") if what.action in ("encapsulate", "short cut") else None
    if isinstance(what, Decap):
        return SeenAt("net:netif_receive_skb")
    if isinstance(what, RouteLookup) and what.action != "loopback address":
        return SeenAt("fib6:fib6_table_lookup" if step.packet.ipv6 else "fib:fib_table_lookup")
    if isinstance(what, Conntrack) and what.action == "new":
        return SeenAt("conntrack event")
    return None
