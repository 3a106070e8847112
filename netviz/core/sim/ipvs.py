"""IPVS: whether a packet belongs to a virtual service of a namespace.

Unmodelled: which real server the scheduler chooses, and connections that IPVS knows already: a packet
to a service, or from a real server that answers through this namespace, ends the walk as UNKNOWN.

Source: net/netfilter/ipvs/ip_vs_core.c, ip_vs_ops4, ip_vs_in_hook, ip_vs_out_hook; ip_vs_ctl.c,
ip_vs_service_find (Linux 6.18).
"""

from __future__ import annotations

from netviz.core.model.addr import format_ip
from netviz.core.model.ipvs import IpvsService
from netviz.core.model.netfilter import NF_FORWARD, NF_LOCAL_IN, NF_LOCAL_OUT
from netviz.core.sim.packet import Packet
from netviz.core.sim.run import Run
from netviz.core.state.node import NetnsState

# Where IPVS looks at packets: hook -> the first of its priorities there.
IPVS_HOOKS = {NF_LOCAL_IN: 98, NF_FORWARD: 99, NF_LOCAL_OUT: -99}


def _serves(service: IpvsService, packet: Packet) -> bool:
    if service.fwmark:
        return service.fwmark == packet.mark
    port = service.port in (0, packet.dport) or packet.dport_unsure
    return (service.proto, service.addr) == (packet.proto, packet.dst) and port


def _answers(service: IpvsService, packet: Packet) -> bool:
    return any(
        server.addr == packet.src and (server.port == packet.sport or packet.sport_unsure)
        for server in service.servers
    )


def check_ipvs(run: Run, ns: NetnsState, packet: Packet, hook: int, dev: str) -> None:
    """End the walk where IPVS takes the packet."""
    run.check_gap(ns, "ipvs", "nat", dev, packet)
    for service in ns.ipvs.values():
        serves = hook != NF_FORWARD and _serves(service, packet)
        if not serves and not _answers(service, packet):
            continue
        what = (
            f"fwmark {service.fwmark:#x}" if service.fwmark else f"{format_ip(service.addr)}:{service.port}"
        )
        does = (
            "sends the packet to one of its servers" if serves else "may translate this answer of its server"
        )
        run.unknown(
            ns,
            "nat",
            dev,
            packet,
            f"IPVS service {what}",
            f"IPVS has a service {what} (scheduler {service.scheduler}) and {does}, which is not modelled.",
            command="ipvsadm -L -n",
            servers=[f"{format_ip(server.addr)}:{server.port}" for server in service.servers],
        )
