"""Decisions of tunnels: what is wrapped for whom, and what comes out of them."""

from __future__ import annotations

from typing import ClassVar, Literal

from netviz.core.sim.steps.base import Decision


class Encap(Decision, frozen=True, tag="encap"):
    """A tunnel's device wraps a packet for `remote`. `key` is a GRE key, `fdb` and `fdb_mac` how VXLAN's table answered.

    `what` names what a device does that isn't modelled.
    """

    kind: ClassVar[str] = "encap"

    action: Literal["encapsulate", "short cut", "reject", "drop", "unknown"]
    cause: Literal[
        "",
        "ip",
        "geneve",
        "vxlan",
        "wireguard",
        "no peer",
        "no endpoint",
        "not carried",
        "through itself",
        "too big",
        "too big for the bridge",
        "recursion",
        "no route",
        "external",
        "no device",
        "no entry",
        "no address",
        "nobody",
        "settings",
        "remote",
        "namespace",
        "marked routing",
        "multicast group",
        "nexthop group",
        "own host",
        "peers",
        "route encapsulation",
        "socket namespace",
    ] = ""
    device_kind: str = ""
    remote: bytes = b""
    vni: int | None = None
    port: int = 0
    key: int | None = None
    fdb: Literal["", "learned", "entry", "default"] = ""
    fdb_mac: bytes = b""
    fdb_choice: Literal["", "nexthop group", "copies"] = ""
    fdb_copies: int = 0
    to: str = ""
    peer: bytes = b""
    allowed: tuple[tuple[bytes, int], ...] | None = None
    carried: tuple[int, ...] = ()
    mtu: int = 0
    length: int = 0
    mark: int = 0
    nhid: int = 0
    what: str = ""


class Decap(Decision, frozen=True, tag="decap"):
    """A tunnel's packet is taken apart, or isn't: by `outer_src`, network identifier and key."""

    kind: ClassVar[str] = "decap"

    action: Literal["decapsulate", "drop", "unknown"]
    cause: Literal[
        "",
        "ip",
        "vxlan",
        "wireguard",
        "program's socket",
        "no tunnel port",
        "checksum",
        "own MAC",
        "no geneve device",
        "no ip device",
        "congestion",
        "static entry elsewhere",
        "no vxlan device",
        "no session",
        "not allowed",
        "another tunnel's port",
        "settings",
    ] = ""
    device_kind: str = ""
    outer_src: bytes = b""
    vni: int | None = None
    key: int | None = None
    what: str = ""
