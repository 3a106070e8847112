"""Bonds: the slave that a frame leaves by, and the ones that frames come in by.

    active-backup             the active slave, both ways
    balance-rr, -xor, 802.3ad one of those that may send (by turn or by a hash): a branch each; all receive
    broadcast                 all of them: the copy that is received is followed
    balance-tlb               one of those that may send, with its own MAC if it isn't the active slave

Unmodelled: balance-alb, which gives neighbours different MACs (its IPv6 is balance-tlb's).

Source: drivers/net/bonding/bond_main.c, bond_xmit_activebackup, bond_xmit_roundrobin,
bond_3ad_xor_xmit, bond_xmit_broadcast, bond_handle_frame, bond_should_deliver_exact_match;
bond_alb.c, bond_do_alb_xmit, bond_tlb_xmit (Linux 6.18).
"""

from __future__ import annotations

from netviz.core.model.ids import LinkKey
from netviz.core.model.link import BondInfo, Link
from netviz.core.sim.actions import Action, Rx, Tx
from netviz.core.sim.copies import Copies, Onward, Unclear
from netviz.core.sim.link.kind import Kind
from netviz.core.sim.node_index import ports_of
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.sim.steps import Opaque, Receive, Transmit
from netviz.core.state.node import NetnsState

MODES = ("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb")
ROUND_ROBIN, ACTIVE_BACKUP, XOR, BROADCAST, LACP, TLB, ALB = range(7)
MODELLED = (ROUND_ROBIN, ACTIVE_BACKUP, XOR, BROADCAST, LACP, TLB)
POLICIES = ("layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac")


def mode_name(info: BondInfo | None) -> str:
    """Name a bond's mode."""
    return MODES[info.mode] if info is not None and info.mode < len(MODES) else "unknown mode"


def info_of(bond: Link) -> BondInfo | None:
    """Return a bond's details."""
    return bond.info if isinstance(bond.info, BondInfo) else None


def usable_slaves(ns: NetnsState, bond: Link) -> list[Link]:
    """List the slaves that may send now: all that are up, or the active one alone. By ifindex."""
    slaves = [link for link in ports_of(ns.links).get(bond.ifindex, ()) if _may_send(link)]
    info = info_of(bond)
    if info is not None and info.mode == ACTIVE_BACKUP:
        return [link for link in slaves if link.ifindex == info.active_slave]
    return slaves


def _may_send(slave: Link) -> bool:
    """Source: include/net/bonding.h, bond_slave_can_tx (Linux 6.18)."""
    settings = slave.bond_slave
    return slave.up and slave.carrier and (settings is None or (settings.active and settings.mii_up))


def _inactive(info: BondInfo | None, slave: Link) -> bool:
    """Tell whether frames that come in by a slave are not for the bond.

    Source: drivers/net/bonding/bond_main.c, bond_should_deliver_exact_match (Linux 6.18).
    """
    if info is None or info.all_slaves_active:
        return False
    if info.mode in (ACTIVE_BACKUP, TLB):
        return slave.ifindex != info.active_slave
    return slave.bond_slave is not None and not slave.bond_slave.active


def _policy(info: BondInfo) -> str:
    """Name the hash policy that chooses a slave; "" where a mode has none."""
    if info.mode in (ACTIVE_BACKUP, BROADCAST, ROUND_ROBIN):
        return ""
    return POLICIES[info.xmit_hash_policy] if info.xmit_hash_policy < len(POLICIES) else "another"


def xmit(run: Run, ns: NetnsState, bond: Link, packet: Packet, nexthop: bytes) -> Action:
    """Choose the slave that sends a frame; ends the walk where that isn't modelled or there is none."""
    info = info_of(bond)
    if info is None or info.mode not in MODELLED:
        run.end_unknown(ns, bond, packet, Opaque("unknown", "bond mode", names=(mode_name(info),)))
    slaves = usable_slaves(ns, bond)
    if not slaves:
        run.end_dropped(ns, bond, packet, "NOT_SPECIFIED", Transmit("drop", "no usable slave"))
    odds = (1 / len(slaves),) * len(slaves) if info.mode == ROUND_ROBIN else None
    slave, certainty = run.pick(("bond", ns.key, bond.ifindex, packet.tuple()), slaves, odds)
    if info.mode == TLB and slave.ifindex != info.active_slave:
        packet = packet.but(smac=slave.mac)
    run.record(
        ns,
        bond,
        packet,
        Transmit(
            "to slave", slave=slave.ifname, slaves=len(slaves), mode=mode_name(info), policy=_policy(info)
        ),
        certainty=certainty,
    )
    return Tx(LinkKey(ns.key, slave.ifindex), packet, nexthop)


def copies(run: Run, ns: NetnsState, bond: Link, _packet: Packet, _nexthop: bytes) -> Copies:
    """Send by the first slave that may: where frames of a bond lead doesn't depend on which."""
    info = info_of(bond)
    if info is None or info.mode not in MODELLED:
        return (Unclear(Opaque("unknown", "bond mode", names=(mode_name(info),)), bond.ifname),)
    return [Onward(LinkKey(ns.key, slave.ifindex), received=False) for slave in usable_slaves(ns, bond)[:1]]


def joins(_run: Run, ns: NetnsState, bond: Link, slave: Link, _packet: Packet) -> Copies:
    """Hand a frame to the bond, if it is the slave by which they come in."""
    return (Onward(LinkKey(ns.key, bond.ifindex), received=True),) if receives(ns, slave) else ()


def receive(run: Run, ns: NetnsState, bond: Link, slave: Link, packet: Packet) -> Action:
    """Hand a frame from a slave to its bond, unless the slave is a backup."""
    info = info_of(bond)
    if _inactive(info, slave):
        run.end_dropped(ns, slave, packet, "NOT_SPECIFIED", Receive("drop", "backup slave", bond=bond.ifname))
    run.record(ns, slave, packet, Receive("to bond", bond=bond.ifname))
    return Rx(LinkKey(ns.key, bond.ifindex), packet)


def receives(ns: NetnsState, slave: Link) -> bool:
    """Tell whether frames for a bond come in by this slave: the active one, else the first that may send.

    Which of several a switch uses isn't known, and makes no difference.
    """
    bond = ns.links.get(slave.master) if slave.master else None
    if bond is None or bond.kind != "bond":
        return True
    usable = [link.ifindex for link in usable_slaves(ns, bond)]
    info = info_of(bond)
    if info is not None and info.mode in (TLB, ALB) and info.active_slave in usable:
        return slave.ifindex == info.active_slave
    return usable[:1] == [slave.ifindex]


KIND = Kind(copies=copies, joins=joins, xmit=xmit, receive=receive)
