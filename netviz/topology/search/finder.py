"""Find what a person types, among all that the live state has: pods, services, addresses, links, routes, rules.

The index follows the state by differences, when somebody searches: only nodes that changed in what can be found are
written anew. Making it for the first time takes seconds in a large cluster; until then, or while somebody else makes it,
what is there is searched, and the answer says that it is `partial`.

Matches are ranked: the whole name or field, its beginning, the beginning of a word, anywhere; then by type; then by name.
Of an address, the ranges that contain it come after what is called exactly so, the narrowest first; of a range, what lies in it too.
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Mapping
from itertools import chain, compress, islice, repeat
from operator import is_not
from typing import Any, NamedTuple

from netviz.core.state.node import ClusterState, NodeState
from netviz.ingest.faults import faults
from netviz.ingest.live_store import one_per_store
from netviz.ingest.store import Store
from netviz.topology.search import places
from netviz.topology.search.ranges import Range, format_range, parse_range
from netviz.topology.search.segment import FIELD, Entry, Segment
from netviz.topology.search.tables import Names, Routes, Rules

FAULT = "search"
TYPES = (
    "pod",
    "service",
    "workload",
    "node",
    "namespace",
    "host-pod",
    "policy",
    "netns",
    "link",
    "route",
    "rule",
)
_ORDER = {one: number for number, one in enumerate(TYPES)}
LIMIT = 50
# So many are ranked: of more, the first that are met.
MOST_RANKED = 400
# So many are looked at for whether they lie in a range.
MOST_INSIDE = 20_000
# How long a search waits for an index that is being made.
WAIT_S = 0.3
BODIES_A_STEP = 200
MAX_CHARS = 200
_MAC = re.compile(r"[0-9a-f]{2}([-:][0-9a-f]{2}){1,5}", re.ASCII)
_NUMBERS = re.compile(r"(\d+)")


TEXT, CONTAINS, INSIDE = "text", "contains", "inside"


class Hit(NamedTuple):
    """Something that was found. `matched` is the field that did, None where it was the name.

    `how`: TEXT, it is written there; CONTAINS, it is a range with what was typed in it; INSIDE, it lies in the range that was typed.
    """

    entry: Entry
    matched: str | None
    rank: float
    how: str = TEXT


class Found(NamedTuple):
    """The best hits; `more`: there were others; `partial`: not all could be searched yet."""

    hits: list[Hit]
    more: bool
    partial: bool


class _Node(NamedTuple):
    state: NodeState
    parts: list[object]
    segment: Segment


class Finder:
    """The index of one store."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._lock = threading.Lock()
        self._nodes: dict[str, _Node] = {}
        self._names = Names()
        self._clusters: dict[str, tuple[NodeState, Segment]] = {}
        self._routes, self._rules = Routes(), Rules()
        self._whole = False

    def find(self, text: str, limit: int = LIMIT) -> Found:
        """Find what has a text in its name, or in one of its addresses."""
        needle = normal(text)
        if not needle:
            return Found([], more=False, partial=False)
        if self._lock.acquire(timeout=WAIT_S):
            try:
                self._follow(time.monotonic() + WAIT_S)
            finally:
                self._lock.release()
        segments = self._segments()
        met, more = _meet(segments, FIELD + needle)
        if len(met) < limit:
            others, more = _meet(segments, needle)
            met |= others
        hits = [_hit(entry, needle) for entry in met.values()]
        wanted = parse_range(needle)
        if wanted is not None:
            known = {(hit.entry.type, hit.entry.name) for hit in hits}
            inside, cut = self._inside(segments, wanted)
            by_range = chain(self._containing(wanted), inside)
            hits += [hit for hit in by_range if (hit.entry.type, hit.entry.name) not in known]
            more |= cut
        hits.sort(key=_order)
        best = [hit._replace(entry=self._placed(hit.entry)) for hit in hits[:limit]]
        return Found(best, more or len(hits) > limit, not self._whole)

    def _containing(self, wanted: Range) -> list[Hit]:
        """What contains a range: routes' destinations, nodes' ranges of pods; each once, by its narrowest."""
        found: dict[tuple[str, str], Hit] = {}
        bits = 8 * len(wanted.addr) + 2
        for length, entry, field in chain(self._names.containing(wanted), self._routes.containing(wanted)):
            hit = Hit(entry, field, 3 + (length + 1) / bits, CONTAINS)
            known = found.get((entry.type, entry.name))
            if known is None or known.rank < hit.rank:
                found[entry.type, entry.name] = hit
        return list(found.values())

    def _inside(self, segments: list[Segment], wanted: Range) -> tuple[list[Hit], bool]:
        """What has an address in a range, and whether there may be more."""
        stem = wanted.stem()
        if wanted.whole or not stem:
            return [], not wanted.whole
        needle = FIELD + stem
        every = chain.from_iterable(segment.find(needle, segment.text.find(needle)) for segment in segments)
        candidates = list(islice(every, MOST_INSIDE))
        met: dict[int, Hit] = {}
        for entry in candidates:
            field = next((one for one in entry.fields if one.startswith(stem) and wanted.has(one)), None)
            if field is not None:
                met[id(entry)] = Hit(entry, field, 1, INSIDE)
            if len(met) == MOST_RANKED:
                break
        return list(met.values()), len(met) == MOST_RANKED or len(candidates) == MOST_INSIDE

    def _placed(self, entry: Entry) -> Entry:
        if entry.of is None:
            return entry
        return self._routes.placed(entry) if entry.type == "route" else self._rules.placed(entry)

    def warm(self) -> None:
        """Make the index, in a thread of its own, if it isn't made."""
        if not self._whole:
            threading.Thread(target=self._make, name="search-index", daemon=True).start()

    def _make(self) -> None:
        while not self._whole:
            with self._lock:
                self._follow(time.monotonic() + WAIT_S)
            time.sleep(0)

    def _segments(self) -> list[Segment]:
        """What is searched, the few things that people look for most first."""
        return [
            *(segment for _, segment in list(self._clusters.values())),
            *self._names.segments(),
            *(node.segment for node in list(self._nodes.values())),
            *self._routes.segments(),
            *self._rules.segments(),
        ]

    def _follow(self, until_s: float) -> None:
        """Follow the state until all is there, or a time."""
        cluster = self.store.cluster()
        self._whole = self._follow_nodes(cluster, until_s) and self._follow_rules(cluster, until_s)
        for table in (self._names, self._routes, self._rules):
            table.write()
        for name in [name for name in self._clusters if name not in cluster.clusters]:
            del self._clusters[name]
        for name, state in cluster.clusters.items():
            known = self._clusters.get(name)
            if known is None or known[0].objects is not state.objects:
                self._clusters[name] = (state, Segment(places.object_entries(state)))

    def _follow_nodes(self, cluster: ClusterState, until_s: float) -> bool:
        seen = {name: node.state for name, node in self._nodes.items()}
        nodes: Mapping[str, NodeState] = cluster.nodes
        differ = compress(nodes.items(), map(is_not, nodes.values(), map(seen.get, nodes, repeat(None))))
        for name, state in differ:
            self._follow_node(name, state)
            if time.monotonic() > until_s:
                return False
        for name in [name for name in self._nodes if name not in nodes]:
            del self._nodes[name]
            self._names.put(name, None)
            self._routes.follow(name, None)
            self._rules.follow(name, None)
        return True

    def _follow_node(self, name: str, state: NodeState) -> None:
        known, parts = self._nodes.get(name), places.parts(state)
        if known is not None and len(parts) == len(known.parts) and not any(map(is_not, parts, known.parts)):
            self._nodes[name] = known._replace(state=state)
        else:
            segment = known.segment if known is not None else Segment(())
            with faults.attempt(name, FAULT):
                segment = Segment(places.node_entries(state))
                self._names.put(name, places.node_entry(state))
            self._nodes[name] = _Node(state, parts, segment)
        root = state.root
        self._routes.follow(name, root)
        self._rules.follow(name, root)

    def _follow_rules(self, cluster: ClusterState, until_s: float) -> bool:
        while self._rules.write_bodies(cluster.bodies, BODIES_A_STEP):
            if time.monotonic() > until_s:
                return False
        return True


def _meet(segments: list[Segment], needle: str) -> tuple[dict[int, Entry], bool]:
    """Collect the entries that have a needle, by identity, up to MOST_RANKED; tell whether there may be more."""
    met: dict[int, Entry] = {}
    for segment in segments:
        at = segment.text.find(needle)
        if at >= 0:
            for entry in segment.find(needle, at):
                met[id(entry)] = entry
                if len(met) == MOST_RANKED:
                    return met, True
    return met, False


def normal(text: str) -> str:
    """The text to look for: in lower case, an address and a MAC as they are written here."""
    needle = " ".join(text.split()).lower()[:MAX_CHARS].replace(FIELD, "")
    if _MAC.fullmatch(needle):
        return needle.replace("-", ":")
    found = parse_range(needle)
    return needle if found is None else format_range(found)


def _hit(entry: Entry, needle: str) -> Hit:
    """Say how well an entry matches, and by what."""
    best, matched = _rank(entry.name, needle), None
    for field in entry.fields:
        rank = _rank(field, needle)
        if rank > best and not entry.name.endswith(f"/{field}"):
            best, matched = rank, field
        best = max(best, rank)
    return Hit(entry, matched, best)


def _rank(field: str, needle: str) -> int:
    text = field.lower()
    at = text.find(needle)
    if at < 0:
        return 0
    if at == 0:
        return 4 if text == needle else 3
    return 1 if text[at - 1].isalnum() else 2


def _order(hit: Hit) -> tuple[Any, ...]:
    name = [int(part) if part.isdigit() else part for part in _NUMBERS.split(hit.entry.name)]
    return -hit.rank, _ORDER[hit.entry.type], [(isinstance(one, str), one) for one in name], hit.entry.where


get_finder = one_per_store(Finder)  # this process's finder: the one of its store.


def as_json(found: Found) -> dict[str, Any]:
    """An answer as the API gives it."""
    return {
        "hits": [
            {
                "type": one.entry.type,
                "key": one.entry.key,
                "name": one.entry.name,
                "where": one.entry.where,
                "node": one.entry.node or None,
                "matched": one.matched,
                "how": one.how,
            }
            for one in found.hits
        ],
        "more": found.more,
        "partial": found.partial,
    }
