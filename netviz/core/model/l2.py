"""Layer 2: forwarding databases, bridge VLANs, neighbours.

Source: include/uapi/linux/neighbour.h, if_bridge.h (Linux 6.18).
"""

from __future__ import annotations

from netviz.core.model.base import Record
from netviz.core.model.bounds import U8, U16, U32, IfindexRef, Ip, IpOrNone, Lladdr, Mac, Port, VlanId
from netviz.core.model.link import BR_STATE_FORWARDING

NUD_INCOMPLETE = 0x01
NUD_REACHABLE = 0x02
NUD_STALE = 0x04
NUD_DELAY = 0x08
NUD_PROBE = 0x10
NUD_FAILED = 0x20
NUD_NOARP = 0x40
NUD_PERMANENT = 0x80
NUD_PINNED = NUD_PERMANENT | NUD_NOARP  # what no packet changes (net/core/neighbour.c, __neigh_update)

NTF_SELF = 0x02
NTF_MASTER = 0x04
NTF_PROXY = 0x08
NTF_EXT_LEARNED = 0x10
NTF_STICKY = 0x40
NTF_ROUTER = 0x80


class Fdb(Record, frozen=True, gc=False):
    """One forwarding entry of a bridge or a VXLAN device.

    `ifindex` is the port (or the VXLAN device itself); `master` the bridge, 0 for a device's own
    table (NTF_SELF). `dst`, `vni`, `port` are a VXLAN remote. `state` is NUD_PERMANENT for local
    addresses, NUD_NOARP for static ones, NUD_REACHABLE for learned ones (fresh or stale: the
    kernel tells nobody when an entry grows old, so the difference isn't state).
    """

    ifindex: IfindexRef
    mac: Mac
    vlan: VlanId = 0
    state: U16 = 0
    flags: U32 = 0
    master: IfindexRef = 0
    dst: IpOrNone = b""
    vni: U32 = 0
    port: Port = 0
    oif: IfindexRef = 0
    nhid: U32 = 0

    @property
    def key(self) -> tuple[int, bytes, int, int, bytes, int, int]:
        """(ifindex, mac, vlan, master, dst, vni, oif)."""
        return (self.ifindex, self.mac, self.vlan, self.master, self.dst, self.vni, self.oif)


class BridgeVlan(Record, frozen=True, gc=False):
    """A VLAN id that a bridge port (or the bridge itself) carries; `state` is its own BR_STATE_*."""

    ifindex: IfindexRef
    vid: VlanId
    pvid: bool = False
    untagged: bool = False
    state: U8 = BR_STATE_FORWARDING

    @property
    def key(self) -> tuple[int, int]:
        """(ifindex, vid)."""
        return (self.ifindex, self.vid)


class Neigh(Record, frozen=True, gc=False):
    """One neighbour (ARP, NDP) or neighbour proxy entry.

    `state` is one of NUD_PERMANENT, NUD_NOARP, NUD_REACHABLE, NUD_FAILED. The kernel moves entries
    between REACHABLE, STALE, DELAY and PROBE without telling anyone, and each of these forwards
    alike: they are all NUD_REACHABLE here. Entries without an answer yet (INCOMPLETE, NONE) are no
    state: U16
    """

    ifindex: IfindexRef
    dst: Ip
    mac: Lladdr = b""
    state: U16 = 0
    flags: U32 = 0

    @property
    def key(self) -> tuple[int, bytes, bool]:
        """(ifindex, dst, proxy?)."""
        return (self.ifindex, self.dst, bool(self.flags & NTF_PROXY))


def normal_nud(state: int) -> int:
    """Fold a NUD state into the four that `Neigh.state` knows; 0 means it isn't state."""
    if state & NUD_PERMANENT:
        return NUD_PERMANENT
    if state & NUD_NOARP:
        return NUD_NOARP
    if state & (NUD_REACHABLE | NUD_STALE | NUD_DELAY | NUD_PROBE):
        return NUD_REACHABLE
    return NUD_FAILED if state & NUD_FAILED else 0
