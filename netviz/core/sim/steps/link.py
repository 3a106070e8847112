"""Decisions of devices: what is sent by them, what they receive, and where bridges send frames."""

from __future__ import annotations

from typing import ClassVar, Literal

from netviz.core.model.ids import LinkKey
from netviz.core.model.l3 import Route
from netviz.core.sim.steps.base import Decision, Edge, Place, Stray


class Transmit(Decision, frozen=True, tag="transmit"):
    """A frame is sent by a device: to its `peer`, `where` that is, to a `lower` device or a `slave`, or on to the wire.

    `shared` are several links with the frame's MAC; `target` is the next hop that nobody known has; `state` and
    `unresolved` say how little a pair's other end is known.
    """

    kind: ClassVar[str] = "link_tx"

    action: Literal[
        "cross veth",
        "cross netkit",
        "cross wire",
        "leave",
        "loop back",
        "to lower",
        "to sibling",
        "to master",
        "to the master's routing",
        "to slave",
        "to vrf",
        "tag",
        "drop",
        "unknown",
    ]
    cause: Literal[
        "",
        "macvlan",
        "ipvlan",
        "vrf",
        "to nobody",
        "to shared MAC",
        "to next hop",
        "link down",
        "no carrier",
        "peer down",
        "blackhole",
        "too many turns",
        "no usable slave",
        "private ipvlans",
        "dummy",
        "veth peer",
        "netkit peer",
        "far end",
        "lower device",
        "ipvlan lower device",
        "vlan device",
    ] = ""
    peer: LinkKey | None = None
    peer_ifname: str = ""
    where: Place | None = None
    lower: str = ""
    slave: str = ""
    slaves: int = 0
    mode: str = ""
    policy: str = ""
    vlan: int = 0
    sent_to: bytes = b""
    shared: tuple[LinkKey, ...] = ()
    target: bytes = b""
    stray: Stray | None = None
    edge: Edge | None = None
    state: str = ""
    unresolved: str = ""


class Receive(Decision, frozen=True, tag="receive"):
    """A frame is received by a device, by a `bridge` or `bond` through it, or by a device over it (`upper`).

    `again`: the kernel's receive path doesn't start anew for it (another_round), so no tracepoint shows it.
    """

    kind: ClassVar[str] = "link_rx"

    action: Literal["receive", "to bond", "to macvlan", "to ipvlan", "untag", "loop", "drop", "unknown"]
    cause: Literal[
        "",
        "frame",
        "bridge port",
        "ipvlan l3s",
        "link down",
        "for another host",
        "another MAC",
        "macvlan keeps",
        "passthru down",
        "backup slave",
        "no VLAN device",
        "IPv6 disabled",
        "loopback address",
        "missing device",
        "master",
        "priority tag",
    ] = ""
    bridge: str = ""
    bond: str = ""
    upper: str = ""
    lower: str = ""
    peer: LinkKey | None = None
    vlan: int = 0
    mac: bytes = b""
    expected: bytes = b""
    sent_to: bytes = b""
    master: int = 0
    master_kind: str | None = None
    ifindex: int = 0
    again: bool = False


class Bridge(Decision, frozen=True, tag="bridge"):
    """A bridge, or what copies frames as one does, decides where a frame goes.

    `lookup` is how the table answered for `mac`, `ports` where that leads, `port` the one that is followed;
    `limit` is what keeps a port from sending. VXLAN's flood names its followed `remote`.
    """

    kind: ClassVar[str] = "bridge"

    action: Literal[
        "forward",
        "flood",
        "up",
        "copy",
        "to itself",
        "stay bridged",
        "assume aged out",
        "assume entry",
        "drop",
        "unknown",
    ]
    cause: Literal[
        "",
        "rejected",
        "vxlan",
        "vxlan rejected",
        "port state",
        "not in VLAN",
        "VLAN filter",
        "dangling",
        "own MAC",
        "may not send",
        "no port",
        "nobody",
        "locked port",
        "sent back",
        "broadcast",
        "locked entry",
        "VLAN tunnel",
        "MST",
        "tagged frames in the IP hooks",
        "section not read",
    ] = ""
    bridge: str = ""
    mac: bytes = b""
    lookup: str = ""
    ports: tuple[str, ...] | None = None
    port: str = ""
    state: str = ""
    limit: Literal["", "vlan", "hairpin", "isolated"] = ""
    vlan: int | None = None
    sent_to: bytes = b""
    shared: tuple[LinkKey, ...] = ()
    gateway: bytes = b""
    route: Route | str = ""
    route_devs: tuple[str, ...] = ()
    remote: bytes = b""
    takers: tuple[str, ...] = ()
