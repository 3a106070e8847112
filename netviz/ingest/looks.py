"""What pages and programs look at, told to the collectors, which read that more often than what nobody looks at.

Who looks says so again and again (`look_into`, `keep_in_sight`); a look lasts LOOK_S. The word goes to whichever
process holds the node's collector, and what looks are still good is remembered there, beside the connection.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Collection

from netviz.core.model.ids import NetnsKey
from netviz.core.wire.messages import Watched
from netviz.groups import tell

LOOK_S = 60.0
AGAIN_S = 20.0
# What is looked into: all that changes without the kernel announcing it.
CLOSELY = (
    "counters",
    "ipsets",
    "ipvs",
    "ipvs_conns",
    "neighs",
    "nfaccts",
    "nft_sets",
    "sockets",
    "xt_tables",
)
CLOSELY_S = 2.0
# Of the nodes that a page names.
IN_SIGHT = ("counters",)
IN_SIGHT_S = 10.0
# With more nodes than this in sight nobody looks at one in particular.
MOST_NODES = 200
MOST_NAMESPACES = 64


def group_of(node: str) -> str:
    """Name the channel layer's group in which a node's collector is told of looks."""
    return f"looks.{hashlib.blake2b(node.encode(), digest_size=16).hexdigest()}"


class Looks:
    """The looks at one node that are still good: at a namespace, or (None) at the node as a whole."""

    def __init__(self) -> None:
        self._until_s: dict[NetnsKey | None, float] = {}

    def take(self, netns: NetnsKey | None, now_s: float) -> None:
        """Take a look in; past MOST_NAMESPACES the oldest is given up."""
        self._until_s.pop(netns, None)
        self._until_s[netns] = now_s + LOOK_S
        if len(self._until_s) > MOST_NAMESPACES:
            del self._until_s[next(iter(self._until_s))]

    def watched(self, now_s: float) -> tuple[Watched, ...]:
        """What is to be read, and how often."""
        self._until_s = {netns: until_s for netns, until_s in self._until_s.items() if until_s > now_s}
        return tuple(
            Watched(IN_SIGHT, IN_SIGHT_S) if netns is None else Watched(CLOSELY, CLOSELY_S, netns)
            for netns in self._until_s
        )


class _Told:
    """What this process told lately, so that it isn't told again at once. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_s: dict[tuple[str, NetnsKey | None], float] = {}

    def due(self, node: str, netns: NetnsKey | None) -> bool:
        now_s = time.monotonic()
        with self._lock:
            if self._at_s.get((node, netns), -AGAIN_S) + AGAIN_S > now_s:
                return False
            self._at_s = {what: at_s for what, at_s in self._at_s.items() if at_s + AGAIN_S > now_s}
            self._at_s[node, netns] = now_s
            return True


_told = _Told()


def look_into(netns: NetnsKey) -> None:
    """Have a namespace read closely for a while. Called from threads without an event loop."""
    if _told.due(netns.node, netns):
        tell(group_of(netns.node), {"type": "collector.looked.at", "netns": str(netns)})


def keep_in_sight(nodes: Collection[str]) -> None:
    """Have some nodes' counters read more often for a while. Called from threads without an event loop."""
    for node in nodes if len(nodes) <= MOST_NODES else ():
        if _told.due(node, None):
            tell(group_of(node), {"type": "collector.looked.at", "netns": ""})
