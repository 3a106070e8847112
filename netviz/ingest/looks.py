"""What pages and programs look at, told to the collectors, which read that more often than what nobody looks at.

Who looks says so again and again (`look_into`, `keep_in_sight`); a look lasts LOOK_S. The word goes to whichever
process holds the node's collector, and what looks are still good is remembered there, beside the connection.
"""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Collection, Hashable

from netviz.core.model.ids import NetnsKey
from netviz.core.wire.messages import Watched
from netviz.groups import publish

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
    "rule_counters",
    "sockets",
    "xt_tables",
)
CLOSELY_S = 2.0
# Of the nodes that a page names.
IN_SIGHT = ("counters",)
IN_SIGHT_S = 10.0
# Of the namespaces in which rules decided what became of a packet that was traced.
DECIDING = ("rule_counters",)
DECIDING_S = 5.0
# With more nodes than this in sight nobody looks at one in particular.
MOST_NODES = 200
MOST_NAMESPACES = 64


def group_of(node: str) -> str:
    """Name the channel layer's group in which a node's collector is told of looks."""
    return f"looks.{hashlib.blake2b(node.encode(), digest_size=16).hexdigest()}"


# A look: at a namespace, or (None) at the node as a whole, for some sections to be read every so many seconds.
Look = tuple[NetnsKey | None, tuple[str, ...], float]


class Looks:
    """The looks at one node that are still good."""

    def __init__(self) -> None:
        self._until_s: dict[Look, float] = {}

    def take(self, netns: NetnsKey | None, now_s: float, *, deciding: bool = False) -> None:
        """Take a look in, of one who wants to know of a namespace only what its rules do (`deciding`), or of others.

        Past MOST_NAMESPACES the oldest is given up.
        """
        look: Look = (netns, CLOSELY, CLOSELY_S)
        if netns is None:
            look = (netns, IN_SIGHT, IN_SIGHT_S)
        elif deciding:
            look = (netns, DECIDING, DECIDING_S)
        self._until_s.pop(look, None)
        self._until_s[look] = now_s + LOOK_S
        if len(self._until_s) > MOST_NAMESPACES:
            del self._until_s[next(iter(self._until_s))]

    def watched(self, now_s: float) -> tuple[Watched, ...]:
        """What is to be read, and how often."""
        self._until_s = {look: until_s for look, until_s in self._until_s.items() if until_s > now_s}
        return tuple(Watched(sections, every_s, netns) for netns, sections, every_s in self._until_s)


class _Told:
    """What this process told lately, so that it isn't told again at once. Any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._at_s: dict[Hashable, float] = {}

    def due(self, look: Hashable) -> bool:
        now_s = time.monotonic()
        with self._lock:
            if self._at_s.get(look, -AGAIN_S) + AGAIN_S > now_s:
                return False
            self._at_s = {what: at_s for what, at_s in self._at_s.items() if at_s + AGAIN_S > now_s}
            self._at_s[look] = now_s
            return True


_told = _Told()


def _tell(node: str, netns: NetnsKey | None, deciding: bool = False) -> None:
    if _told.due((node, netns, deciding)):
        what = {"netns": "" if netns is None else str(netns), "deciding": deciding}
        publish(group_of(node), {"type": "collector.looked.at", **what})


def look_into(netns: NetnsKey) -> None:
    """Have a namespace read closely for a while. Called from threads without an event loop."""
    _tell(netns.node, netns)


def look_at_rules(spaces: Collection[NetnsKey]) -> None:
    """Have it read for a while what the rules of some namespaces count. Called from threads without an event loop."""
    for netns in spaces:
        _tell(netns.node, netns, deciding=True)


def keep_in_sight(nodes: Collection[str]) -> None:
    """Have some nodes' counters read more often for a while. Called from threads without an event loop."""
    for node in nodes if len(nodes) <= MOST_NODES else ():
        _tell(node, None)
