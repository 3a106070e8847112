"""What the conntrack collector holds of one namespace."""

from __future__ import annotations

import socket

from agents.collectors.base import NetnsHandle
from agents.netlink.conntrack import CtKey
from netviz.core.model.conntrack import CtEntry


class Tracker:
    """One namespace: its event socket and what is waiting to be told.

    `pending` maps an entry's key to the entry, or to None when it went. `touched` holds the keys
    that events named while a dump is under way: the dump's word on those is older, and is dropped.
    `shed` counts what was left out and no dump has brought since, `dumped_shed` how much of it the last dump did,
    as soon as its differences are told.
    """

    def __init__(self, ns: NetnsHandle, sock: socket.socket) -> None:
        self.ns = ns
        self.sock = sock
        self.pending: dict[CtKey, CtEntry | None] = {}
        self.touched: set[CtKey] | None = None
        self.count = 0
        self.drops = 0
        self.shed = 0
        self.dumped_shed = 0
        self.lossy = False
        self.dumped_at_s = float("-inf")
        self.dump_cost_s = 0.0
        self.redump_asked = False
