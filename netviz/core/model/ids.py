"""Identities. An interface name or an nsid never is one.

A network namespace is known by the device and inode of its nsfs file on its node. The kernel reuses
inode numbers, so the collector counts a generation up when it sees the number again after the
namespace had gone. A link is known by its namespace and ifindex.

As text (JSON keys, URLs): `node:dev:ino:gen` and `node:dev:ino:gen:ifindex`.
"""

from __future__ import annotations

import msgspec

from netviz.core.model.bounds import U32, U64, NodeName


class NetnsKey(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """One network namespace of one node.

    `dev` 0 marks a namespace that could not be opened: it is known only because a veth peer points
    into it, and `ino` is then the nsid that the node's own namespace gives it.
    """

    node: NodeName
    dev: U64
    ino: U64
    gen: U32 = 0

    def __str__(self) -> str:
        return f"{self.node}:{self.dev}:{self.ino}:{self.gen}"

    @classmethod
    def parse(cls, text: str) -> NetnsKey:
        """Read the text form. Raises: ValueError."""
        node, dev, ino, gen = text.rsplit(":", 3)
        return cls(node, int(dev), int(ino), int(gen))


class LinkKey(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    """One link: its namespace and its ifindex there."""

    netns: NetnsKey
    ifindex: int

    def __str__(self) -> str:
        return f"{self.netns}:{self.ifindex}"

    @classmethod
    def parse(cls, text: str) -> LinkKey:
        """Read the text form. Raises: ValueError."""
        netns, ifindex = text.rsplit(":", 1)
        return cls(NetnsKey.parse(netns), int(ifindex))
