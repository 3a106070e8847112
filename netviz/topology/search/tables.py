"""Routes and netfilter rules of all nodes, each told once, however many nodes have it: kept up by differences.

Of each thing one node is known that has it (`owner`), and no more: which others have it is looked up in their states
when somebody wants to know. When the owner loses it, another one is looked for.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Hashable, Iterable, Iterator, Mapping
from typing import Any, Generic, TypeVar

from netviz.core.model.addr import format_ip, format_prefix
from netviz.core.model.l3 import RTN_LOCAL, RTN_UNICAST, Route
from netviz.core.model.netfilter import NFPROTO_NAMES, Body, ChainBody, NftChain
from netviz.core.state.node import NetnsState
from netviz.core.state.section import EMPTY
from netviz.topology.nfttext import rule_text
from netviz.topology.search.ranges import Prefixes, Range, parse_range
from netviz.topology.search.segment import Entry, Segment

K = TypeVar("K", bound=Hashable)
_ROUTE_TYPES = (RTN_UNICAST, RTN_LOCAL)
MAX_RULES = 500  # of one chain
RULE_CHARS = 200
# A change writes one bucket anew.
BUCKETS = 256


class Buckets(Generic[K]):
    """The entries of many things, in texts of which a change writes one anew."""

    def __init__(self) -> None:
        self._keys: list[dict[K, None]] = [{} for _ in range(BUCKETS)]
        self._segments: dict[int, Segment] = {}
        self._stale: set[int] = set()

    @abstractmethod
    def entries(self, key: K) -> Iterable[Entry]:
        """What is to be found of a thing."""

    def add(self, key: K) -> None:
        """Take a thing in."""
        self._keys[hash(key) % BUCKETS][key] = None
        self.touch(key)

    def drop(self, key: K) -> None:
        """Take a thing out."""
        self._keys[hash(key) % BUCKETS].pop(key, None)
        self.touch(key)

    def touch(self, key: K) -> None:
        """Say that it has other entries now."""
        self._stale.add(hash(key) % BUCKETS)

    def write(self) -> None:
        """Write what has changed."""
        for number in self._stale:
            self._segments[number] = Segment(
                entry for key in self._keys[number] for entry in self.entries(key)
            )
        self._stale.clear()

    def segments(self) -> list[Segment]:
        """All entries, as they were written last."""
        return list(self._segments.values())


class Names(Buckets[str]):
    """The nodes themselves."""

    def __init__(self) -> None:
        super().__init__()
        self._entries: dict[str, Entry] = {}
        self._ranges: Prefixes[tuple[str, str]] = Prefixes()

    def put(self, name: str, entry: Entry | None) -> None:
        """Take what a node is to be found by; None: it is gone."""
        old = self._entries.get(name)
        if old == entry:
            return
        for text, one in _ranges(old):
            self._ranges.drop(*one, (name, text))
        for text, one in _ranges(entry):
            self._ranges.add(*one, (name, text))
        if entry is None:
            del self._entries[name]
            self.drop(name)
        else:
            self._entries[name] = entry
            self.add(name)

    def containing(self, wanted: Range) -> Iterator[tuple[int, Entry, str]]:
        """Yield nodes of which a range of pods contains another: its length, the node, the range as text."""
        for length, (name, text) in self._ranges.containing(wanted):
            if (entry := self._entries.get(name)) is not None:
                yield length, entry, text

    def entries(self, key: str) -> Iterable[Entry]:
        """The node's entry."""
        return (self._entries[key],)


def _ranges(entry: Entry | None) -> Iterator[tuple[str, Range]]:
    for text in entry.fields if entry is not None else ():
        if "/" in text and (one := parse_range(text)) is not None:
            yield text, one


class Shared(Buckets[K]):
    """Things in the nodes' own namespaces that many nodes have."""

    def __init__(self) -> None:
        super().__init__()
        self.owner: dict[K, str] = {}
        self.roots: dict[str, NetnsState] = {}

    @abstractmethod
    def differences(self, old: NetnsState | None, new: NetnsState | None) -> tuple[Iterable[K], Iterable[K]]:
        """What a namespace lost and gained; what it has besides may be named too."""

    @abstractmethod
    def has(self, root: NetnsState, key: K) -> bool:
        """Tell whether a namespace has it."""

    def follow(self, name: str, root: NetnsState | None) -> None:
        """Follow a node."""
        old = self.roots.get(name)
        if old is root:
            return
        if root is None:
            del self.roots[name]
        else:
            self.roots[name] = root
        gone, came = self.differences(old, root)
        for key in came:
            if key not in self.owner:
                self.owner[key] = name
                self.add(key)
        for key in gone:
            if self.owner.get(key) == name and (root is None or not self.has(root, key)):
                self._lost(key)

    def _lost(self, key: K) -> None:
        other = next((name for name, root in self.roots.items() if self.has(root, key)), None)
        if other is not None:
            self.owner[key] = other
            return
        del self.owner[key]
        self.drop(key)
        self.dropped(key)

    def dropped(self, key: K) -> None:
        """Forget what is known of a thing that nobody has any more."""

    def placed(self, entry: Entry) -> Entry:
        """Return an entry with who has it now, and the namespace of one of them as its key if it has none."""
        key = entry.of
        assert key is not None
        having = [name for name, root in list(self.roots.items()) if self.has(root, key)]
        if not having:
            return entry
        who = having[0] if len(having) == 1 else f"{having[0]} and {len(having) - 1} more"
        where = f"{entry.where}, {who}" if entry.where else who
        return entry._replace(where=where, node=having[0], key=entry.key or str(self.roots[having[0]].key))


class Routes(Shared[Any]):
    """The destinations of routes."""

    def __init__(self) -> None:
        super().__init__()
        self._prefixes: Prefixes[Any] = Prefixes()

    def add(self, key: Any) -> None:
        """Take a route in, by its prefix too."""
        super().add(key)
        self._prefixes.add(key[1], key[2], key)

    def drop(self, key: Any) -> None:
        """Take a route out."""
        super().drop(key)
        self._prefixes.drop(key[1], key[2], key)

    def containing(self, wanted: Range) -> Iterator[tuple[int, Entry, None]]:
        """Yield routes whose destination contains a range: its length, the route."""
        for length, key in self._prefixes.containing(wanted):
            for entry in self.entries(key):
                yield length, entry, None

    def differences(
        self, old: NetnsState | None, new: NetnsState | None
    ) -> tuple[Iterable[Any], Iterable[Any]]:
        """By the routes' keys."""
        was = old.routes if old is not None else EMPTY
        now = new.routes if new is not None else EMPTY
        return (was.keys() - now.keys(), now.keys() - self.owner.keys()) if was is not now else ((), ())

    def has(self, root: NetnsState, key: Any) -> bool:
        """Look the route up."""
        return key in root.routes

    def entries(self, key: Any) -> Iterator[Entry]:
        """Its destination."""
        root = self.roots.get(self.owner.get(key, ""))
        route: Route | None = root.routes.get(key) if root is not None else None
        if route is not None and route.type in _ROUTE_TYPES:
            text = format_prefix(route.dst, route.dst_len) if route.dst_len else "default"
            bare = (format_ip(route.dst),) if route.dst_len and route.dst_len == 8 * len(route.dst) else ()
            yield Entry("route", text, text, "", "", bare, key)


# Whether it is legacy xtables', the chain's key, and its body's digest.
_Chain = tuple[bool, Any, bytes]


class Rules(Shared[_Chain]):
    """The chains, and their rules."""

    def __init__(self) -> None:
        super().__init__()
        self._lines: dict[_Chain, tuple[Entry, ...]] = {}
        self._unwritten: dict[_Chain, None] = {}

    def differences(
        self, old: NetnsState | None, new: NetnsState | None
    ) -> tuple[Iterable[_Chain], Iterable[_Chain]]:
        """By the chains' names and bodies."""
        gone: list[_Chain] = []
        came: list[_Chain] = []
        for legacy, section in ((False, "nft_chains"), (True, "xt_chains")):
            was: Mapping[Any, NftChain] = getattr(old, section) if old is not None else EMPTY
            now: Mapping[Any, NftChain] = getattr(new, section) if new is not None else EMPTY
            if was is not now:
                gone += [(legacy, key, one.body) for key, one in was.items() if now.get(key) is not one]
                came += [(legacy, key, one.body) for key, one in now.items() if was.get(key) is not one]
        for chain in came:
            if chain not in self.owner:
                self._unwritten[chain] = None
        return gone, came

    def has(self, root: NetnsState, key: _Chain) -> bool:
        """Look the chain up, and compare its body."""
        legacy, name, body = key
        chain = (root.xt_chains if legacy else root.nft_chains).get(name)
        return chain is not None and chain.body == body

    def write_bodies(self, bodies: Mapping[bytes, Body], most: int) -> bool:
        """Write the rules of so many chains that aren't written; tell whether more could be."""
        here = [key for key in self._unwritten if not key[2] or key[2] in bodies]
        for key in here[:most]:
            del self._unwritten[key]
            self._lines[key] = tuple(_rules(key, bodies.get(key[2])))
            self.touch(key)
        return len(here) > most

    def entries(self, key: _Chain) -> Iterable[Entry]:
        """Its rules, as far as they are written."""
        return self._lines.get(key, ())

    def dropped(self, key: _Chain) -> None:
        """Forget its rules."""
        self._lines.pop(key, None)
        self._unwritten.pop(key, None)


def _rules(key: _Chain, body: Body | None) -> Iterator[Entry]:
    legacy, (family, table, name), _ = key
    within = f"{NFPROTO_NAMES.get(family, str(family))} {table}"
    yield Entry("rule", "", name, f"chain of {within}", "", (), key)
    for rule in body.rules[:MAX_RULES] if isinstance(body, ChainBody) else ():
        text = rule_text(rule, family, None, legacy)[:RULE_CHARS]
        yield Entry("rule", "", text, f"{name} of {within}", "", (rule.comment,) if rule.comment else (), key)
