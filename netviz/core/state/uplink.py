"""Which of a node's links lead out of the node."""

from __future__ import annotations

from collections.abc import Iterable

from netviz.core.model.l3 import RT_SCOPE_UNIVERSE, Addr
from netviz.core.model.link import IFF_LOOPBACK, Link


def leads_outside(link: Link, addrs: Iterable[Addr]) -> bool:
    """Tell whether a link of the node's own namespace is an uplink when its other end isn't a known namespace.

    A node that is itself in a namespace (an emulated or nested one) has a veth for a NIC, and that
    looks like the host end of a pod's veth whose namespace nobody showed us. The difference: an
    uplink is nobody's port and has an address in a subnet that it shares with others, where a pod's
    host end is a bridge's port, or has no address, or a host address (/32, /128).
    """
    if link.flags & IFF_LOOPBACK or link.master:
        return False
    return any(
        addr.ifindex == link.ifindex
        and addr.scope == RT_SCOPE_UNIVERSE
        and addr.prefixlen < len(addr.addr) * 8 - 1
        for addr in addrs
    )
