"""Connection tracking's events: the tuples of the probe's connection, in each namespace that makes an entry for it.

The kernel tells of an entry when its first packet has passed all hooks, so of a packet that is dropped nothing is heard; nor
where `nf_conntrack_events` is 0, nor of a connection that stood before. An entry is known by the sender's address and port, so
one whose packet was translated in another namespace before isn't.

Source: net/netfilter/nf_conntrack_ecache.c; nf_conntrack_netlink.c, ctnetlink_conntrack_event (Linux 6.18).
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import suppress

from agents.collectors.base import NetnsHandle
from agents.netlink.conntrack import IPCTNL_MSG_CT_NEW, Interner, parse_entry
from agents.netlink.nfnetlink import NETLINK_NETFILTER, NFNLGRP_CONNTRACK_NEW
from agents.netlink.wire import received
from netviz.core.model.conntrack import CtEntry
from netviz.core.observe.sighting import Tracked
from netviz.core.sim.trace import Flow


class CtEvents:
    """Sockets that hear of new entries. `sport` is the probe's port or echo identifier."""

    def __init__(self, flow: Flow, sport: int) -> None:
        self._flow = flow
        self._sport = sport
        self._sockets: dict[str, socket.socket] = {}
        self._intern = Interner()
        self.lost = 0

    def add(self, place: str, ns: NetnsHandle) -> None:
        """Hear of a namespace's entries. Raises: OSError."""
        self._sockets[place] = ns.open_netlink(NETLINK_NETFILTER, (NFNLGRP_CONNTRACK_NEW,))

    def sockets(self) -> list[socket.socket]:
        """The sockets, to wait for."""
        return list(self._sockets.values())

    def read(self) -> list[Tracked]:
        """Read the entries of the probe that were told."""
        return [one for place, sock in self._sockets.items() for one in self._read(place, sock)]

    def _read(self, place: str, sock: socket.socket) -> Iterator[Tracked]:
        for kind, _flags, _seq, body in received(sock, self._lose):
            with suppress(ValueError, KeyError, struct.error):
                if kind == IPCTNL_MSG_CT_NEW and self._is_mine(entry := parse_entry(body, self._intern)):
                    yield Tracked(place, entry)

    def _lose(self) -> None:
        self.lost += 1

    def _is_mine(self, entry: CtEntry) -> bool:
        flow = self._flow
        return (entry.proto, entry.osrc, entry.osport) == (flow.proto, flow.src, self._sport)

    def close(self) -> None:
        """Close the sockets."""
        for sock in self._sockets.values():
            sock.close()
        self._sockets.clear()
