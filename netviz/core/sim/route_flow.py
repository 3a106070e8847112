"""What a routing lookup is asked with."""

from __future__ import annotations

import msgspec


class RouteFlow(msgspec.Struct, frozen=True, gc=False):
    """A flow as routing sees it (struct flowi). `iif` is the incoming ifindex; 0 for the host's own.

    A port that is `unsure` was drawn at random: its value stands for any. `strict`: the sender's socket is bound
    to `oif`, which IPv6 only prefers else. `l3mdev` is the ifindex of the VRF that it belongs to where neither
    device tells. `dissected`: protocol and ports are read from the packet itself, which the kernel does only where
    a rule asks for them.
    """

    dst: bytes
    src: bytes = b""
    iif: int = 0
    oif: int = 0
    mark: int = 0
    tos: int = 0
    proto: int = 0
    sport: int = 0
    dport: int = 0
    uid: int = 0
    scope: int = 0
    sport_unsure: bool = False
    dport_unsure: bool = False
    strict: bool = True
    l3mdev: int = 0
    dissected: bool = False
