"""Bonds: the slave that a frame leaves by, and the one that frames come in by.

Unmodelled: broadcast mode, and the modes that rewrite MACs to balance (balance-tlb, balance-alb).

Source: drivers/net/bonding/bond_main.c, bond_xmit_activebackup, bond_xmit_roundrobin,
bond_3ad_xor_xmit, bond_handle_frame, bond_should_deliver_exact_match (Linux 6.18).
"""

from __future__ import annotations

from netviz.core.model.link import BondInfo, Link
from netviz.core.sim.node_index import ports_of
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.sim.trace import BRANCH, CERTAIN
from netviz.core.state.node import NetnsState

MODES = ("balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb")
ACTIVE_BACKUP = 1
HASHING = (0, 2, 4)


def mode_name(info: BondInfo | None) -> str:
    """Name a bond's mode."""
    return MODES[info.mode] if info is not None and info.mode < len(MODES) else "unknown mode"


def usable_slaves(ns: NetnsState, bond: Link) -> list[Link]:
    """List the slaves that may send now: all that are up, or the active one alone. By ifindex."""
    slaves = [link for link in ports_of(ns.links).get(bond.ifindex, ()) if link.up and link.carrier]
    info = bond.info if isinstance(bond.info, BondInfo) else None
    if info is not None and info.mode == ACTIVE_BACKUP:
        return [link for link in slaves if link.ifindex == info.active_slave]
    return slaves


def pick_slave(run: Run, ns: NetnsState, bond: Link, packet: Packet) -> Link:
    """Choose the slave that sends a frame; ends the walk where that isn't modelled or there is none."""
    info = bond.info if isinstance(bond.info, BondInfo) else None
    command = f"ip -d link show master {bond.ifname}"
    if info is None or info.mode not in (ACTIVE_BACKUP, *HASHING):
        run.unknown(
            ns,
            "opaque",
            bond.ifname,
            packet,
            f"bond in mode {mode_name(info)}",
            f"{bond.ifname} is a bond in mode {mode_name(info)}, which is not modelled.",
            command=command,
        )
    slaves = usable_slaves(ns, bond)
    if not slaves:
        why = f"{bond.ifname} has no slave that may send: none is active, up and with carrier."
        run.drop(ns, "link_tx", bond.ifname, packet, "NOT_SPECIFIED", why, command=command)
    picked = 0
    if len(slaves) > 1:
        picked = run.choose(("bond", ns.key, bond.ifindex, packet.tuple()), len(slaves), None)
    slave = slaves[picked]
    how = (
        "the active slave"
        if info.mode == ACTIVE_BACKUP
        else f"one of {len(slaves)}, by mode {mode_name(info)}"
    )
    run.step(
        ns,
        "link_tx",
        bond.ifname,
        packet,
        "to slave",
        f"{bond.ifname} is a bond; the frame leaves by {slave.ifname}, {how}.",
        certainty=CERTAIN if len(slaves) == 1 else BRANCH,
        slave=slave.ifname,
        mode=mode_name(info),
        command=command,
    )
    return slave


def receives(ns: NetnsState, slave: Link) -> bool:
    """Tell whether frames for a bond come in by this slave: the active one, else the first that may send.

    Which of several a switch uses isn't known, and makes no difference.
    """
    bond = ns.links.get(slave.master) if slave.master else None
    if bond is None or bond.kind != "bond":
        return True
    return [link.ifindex for link in usable_slaves(ns, bond)][:1] == [slave.ifindex]
