"""The description of a random cluster: plain data, so that a case can be shrunk, kept as JSON and read.

A network is a list of namespaces and a list of items. An item is the smallest part that can be left
out: it names the feature it is there for, the namespace it configures, and how (lines for iproute2, a
ruleset for nft, sysctls, ...). In the lines, `{p11}` stands for the file of the namespace p11.

Every item may carry tokens: text that appears in a trace's evidence when the item decided something;
after "@" it counts only in a step of the item's own namespace.
"""

from __future__ import annotations

import msgspec

FABRIC, OUTSIDE = "fabric", "outside"
PORT, CLOSED_PORT = 8080, 81


class Place(msgspec.Struct, frozen=True):
    """A namespace. `kind` is "fabric", "node" (an outside host is one without pods) or "pod" of `node`."""

    name: str
    kind: str
    node: str = ""


class Listener(msgspec.Struct, frozen=True):
    """A listening socket.

    `addr` "" is every address of both families, of IPv6 alone where it is `v6only`; `dev` binds it to a device;
    a `transparent` one takes any address's packets.
    """

    proto: str
    port: int = PORT
    addr: str = ""
    v6only: bool = False
    dev: str = ""
    transparent: bool = False


class Item(msgspec.Struct, frozen=True, omit_defaults=True):
    """One part of the configuration of namespace `at`.

    `ip4`, `ip6`, `ip`, `bridge` and `tc` are lines for `ip -4 -batch`, `ip -6 -batch`, `ip -batch` (what has no
    family), `bridge -batch` and `tc -batch`, done in this order; `xtables`
    maps a restore program (`iptables-nft-restore`, ...) to its input; `late` items are applied after
    the first packets of established flows went through. `nfacct` are accounting objects: a name, and a quota of
    bytes if it has one.
    """

    feature: str
    at: str
    ip4: list[str] = []
    ip6: list[str] = []
    ip: list[str] = []
    bridge: list[str] = []
    tc: list[str] = []
    sysctls: dict[str, str] = {}
    ipset: list[str] = []
    nfacct: list[str] = []
    nft: str = ""
    xtables: dict[str, str] = {}
    conntrack: list[str] = []
    listeners: list[Listener] = []
    tokens: list[str] = []
    late: bool = False


class Probe(msgspec.Struct, frozen=True, omit_defaults=True):
    """A packet to send from namespace `src` to address `dst`.

    `bind` is the source address ("": the kernel chooses), `size` the whole IP packet's length in bytes for
    UDP and ICMP (0: as small as can be). `established` sends one packet of the same flow beforehand. `dev` binds the
    socket to a device.
    """

    src: str
    dst: str
    proto: str
    sport: int
    dport: int = PORT
    bind: str = ""
    size: int = 0
    df: bool = False
    ttl: int = 64
    tos: int = 0
    mark: int = 0
    established: bool = False
    dev: str = ""

    @property
    def v6(self) -> bool:
        """Whether it is an IPv6 packet."""
        return ":" in self.dst


class Network(msgspec.Struct, frozen=True):
    """A random cluster and what is sent through it."""

    seed: int
    places: list[Place]
    items: list[Item]
    probes: list[Probe]
