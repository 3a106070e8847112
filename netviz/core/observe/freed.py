"""Which frees with a reason speak against a path."""

from __future__ import annotations

from netviz.core.observe.correlate import AMBIGUOUS, Freed
from netviz.core.sim.packet import IPPROTO_ICMP, IPPROTO_ICMPV6, TH_RST
from netviz.core.sim.trace import Disposition, Path

_PASSED = (Disposition.DELIVERED, Disposition.LEFT_NETWORK)


def contradicts(path: Path, freed: Freed) -> bool:
    """Tell whether a drop speaks against a path that isn't predicted to end in one.

    What a retransmission meets isn't compared: a SYN that finds its connection asked for already is dropped as it comes.
    Source: net/ipv4/tcp_minisocks.c, tcp_check_req; net/ipv4/tcp_ipv4.c, tcp_v4_rcv (Linux 6.18).

    A reset ends with a drop reason where it arrives, and what is rejected or finds no listener does where it is. Of an
    echo reply a raw socket gets a clone; the packet itself finds no ping socket then.
    Source: net/ipv4/ping.c, ping_rcv; net/ipv4/raw.c, raw_v4_input (Linux 6.18).
    """
    if path.disposition not in _PASSED or freed.join == AMBIGUOUS or freed.after is None:
        return False
    if freed.after.stray and freed.event.reason == "OTHERHOST":
        return False  # a switch's copy, at a link with another MAC
    frame = freed.after.frame
    cloned = frame.proto in (IPPROTO_ICMP, IPPROTO_ICMPV6) and freed.event.reason == "NO_SOCKET"
    return frame.kind != "error" and not frame.flags & TH_RST and not cloned
