"""What a run's packets leave behind in the kernel, beside the state, which is never touched.

All of it is one immutable value. A run that only supposes something works on a fork of it and goes back to the old
value afterwards, so nothing can be forgotten to be put back.
"""

from __future__ import annotations

from collections.abc import Hashable, Mapping

import msgspec

from netviz.core.model.conntrack import CtTuple
from netviz.core.model.ids import LinkKey, NetnsKey
from netviz.core.model.ipvs import IpvsConn
from netviz.core.model.netfilter import SetElem
from netviz.core.sim.conn import Conn
from netviz.core.sim.heard import Domain
from netviz.core.state.section import EMPTY


class ArpRequest(msgspec.Struct, frozen=True, gc=False):
    """An ARP request that the run has sent: from which link and MAC, for which address, and who heard it."""

    requester: LinkKey
    mac: bytes
    target: bytes
    domain: Domain


SetKey = tuple[NetnsKey, tuple[int, str, str]]


class Memory(msgspec.Struct, frozen=True, gc=False):
    """What packets have left behind so far. Every field is immutable by contract: a change makes a new value.

    `conns` are connections by number; `conn_tuples` finds a confirmed one by (namespace, zone, tuple), and tells
    whether the tuple is the reply's. `deleted_conns` are the keys of the state's entries that are gone.
    `fdb` maps (namespace, bridge, MAC, VLAN) to the port, `vxlan_fdb` (namespace, device, MAC) to the remote,
    `endpoints` a WireGuard device and key to the peer's address and port.
    `neighs` maps (namespace, ifindex, address) to the MAC; `pending_neighs` are those that a host may learn only after
    the packet. `arp_requests` are by the address of who sends them.
    `changed_sets` and `set_elems` are what rules have made of sets, `rule_scratch` what they wrote down for later rules.
    """

    conns: Mapping[int, Conn] = EMPTY
    conn_tuples: Mapping[tuple[NetnsKey, int, CtTuple], tuple[int, bool]] = EMPTY
    deleted_conns: frozenset[tuple[NetnsKey, Hashable]] = frozenset()
    fdb: Mapping[tuple[NetnsKey, int, bytes, int], int] = EMPTY
    vxlan_fdb: Mapping[tuple[NetnsKey, int, bytes], bytes] = EMPTY
    endpoints: Mapping[tuple[LinkKey, bytes], tuple[bytes, int]] = EMPTY
    ipvs: Mapping[NetnsKey, tuple[IpvsConn, ...]] = EMPTY
    neighs: Mapping[tuple[NetnsKey, int, bytes], bytes] = EMPTY
    pending_neighs: frozenset[tuple[NetnsKey, int, bytes]] = frozenset()
    arp_requests: Mapping[bytes, tuple[ArpRequest, ...]] = EMPTY
    changed_sets: frozenset[tuple[NetnsKey, int]] = frozenset()
    set_elems: Mapping[SetKey, Mapping[bytes, SetElem | None]] = EMPTY
    options_changed: bool = False
    rule_scratch: Mapping[Hashable, int] = EMPTY

    def but(self, **changes: object) -> Memory:
        """Return a copy with some fields changed."""
        return msgspec.structs.replace(self, **changes)

    def with_conn(self, number: int, conn: Conn) -> Memory:
        """Put a connection under a number."""
        return self.but(conns={**self.conns, number: conn})

    def with_fdb(self, key: tuple[NetnsKey, int, bytes, int], port: int) -> Memory:
        """Let a bridge learn a MAC."""
        return self if self.fdb.get(key) == port else self.but(fdb={**self.fdb, key: port})

    def with_vxlan_fdb(self, key: tuple[NetnsKey, int, bytes], remote: bytes) -> Memory:
        """Let a VXLAN device learn behind which remote a MAC is."""
        return self.but(vxlan_fdb={**self.vxlan_fdb, key: remote})

    def with_neigh(self, key: tuple[NetnsKey, int, bytes], mac: bytes) -> Memory:
        """Give a neighbour entry a MAC."""
        return self.but(neighs={**self.neighs, key: mac})

    def with_scratch(self, key: Hashable, value: int) -> Memory:
        """Write down what later rules ask for."""
        return self.but(rule_scratch={**self.rule_scratch, key: value})
