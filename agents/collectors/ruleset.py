"""One namespace's nf_tables.

A ruleset is dumped whole, and only when it changed: the kernel numbers a ruleset's generations, so one
small request tells whether a dump would show anything new, and the same number before and after a
dump tells that nothing changed meanwhile. Sets that the packet path itself fills or expires (dynamic
sets, timeouts) change without a new generation, so their elements are read each time.

Rules cost no decoding when they are as they were: see `agents.netlink.nft_rules`.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import msgspec

from agents.bodies import EncodedBody
from agents.netlink import nftables as nft
from agents.netlink.nfnetlink import nfgenmsg, stream_dump, text_attr
from agents.netlink.nft_rules import BodyCache, ChainKey, RuleStream
from agents.netlink.wire import DumpInterrupted, request
from netviz.core.model.netfilter import EMPTY_BODY, NftSet, RuleCount
from netviz.core.observe.sighting import OWN_TABLES

NFT_SECTIONS = ("nft_tables", "nft_chains", "nft_sets", "nft_objects")
ATTEMPTS = 5
_CHANGING_SETS = nft.NFT_SET_EVAL | nft.NFT_SET_TIMEOUT


class Ruleset(msgspec.Struct, frozen=True):
    """One namespace's nf_tables at one generation: section -> key -> record.

    `bodies` keeps alive what the records refer to by digest. `counts` are what the chains' rules had counted, where they
    were read for that.
    """

    generation: int
    sections: Mapping[str, Mapping[Any, Any]]
    bodies: Mapping[bytes, EncodedBody]
    counts: Mapping[ChainKey, tuple[RuleCount, ...]] = {}


def read_generation(sock: socket.socket) -> int:
    """Ask for the number of the ruleset's generation. Raises: OSError."""
    return nft.parse_generation(request(sock, nft.NFT_MSG_GETGEN, nfgenmsg()).body)


def read_ruleset(
    sock: socket.socket, cache: BodyCache, known: Ruleset | None = None, *, counted: bool = False
) -> Ruleset:
    """Dump the ruleset unless `known` is of its generation; equal records of `known` are used again.

    Where what the rules have counted is wanted too, it is dumped anyway: that changes without a new generation.

    Raises: DumpInterrupted when it changed during every attempt; OSError.
    """
    for _ in range(ATTEMPTS):
        generation = read_generation(sock)
        try:
            as_known = known is not None and known.generation == generation and not _bound_to_devices(known)
            if known is not None and as_known and not counted:
                return _refresh(sock, cache, known)
            ruleset = _dump(sock, cache, generation, known, counted)
        except DumpInterrupted:
            continue
        except FileNotFoundError:  # a set went away between the list of sets and the dump of its elements
            continue
        if read_generation(sock) == generation:
            return ruleset
    raise DumpInterrupted(errno.EAGAIN, f"the ruleset changed during {ATTEMPTS} dumps")


def _bound_to_devices(known: Ruleset) -> bool:
    """Tell whether the ruleset names devices, whose end changes it without a new generation."""
    return any(chain.devs for chain in known.sections["nft_chains"].values()) or any(
        one.type == "flowtable" for one in known.sections["nft_objects"].values()
    )


def _dump(
    sock: socket.socket, cache: BodyCache, generation: int, known: Ruleset | None, counted: bool
) -> Ruleset:
    def records(msg_type: int, parse: Callable[[bytes], Any]) -> list[Any]:
        return [parse(body) for body in stream_dump(sock, msg_type, nfgenmsg())]

    tables = [one for one in records(nft.NFT_MSG_GETTABLE, nft.parse_table) if not _is_observers(one.name)]
    if not tables:
        return Ruleset(generation, {section: {} for section in NFT_SECTIONS}, {})
    chains = [one for one in records(nft.NFT_MSG_GETCHAIN, nft.parse_chain) if not _is_observers(one.table)]
    rules = RuleStream(cache, counted=counted)
    for body in stream_dump(sock, nft.NFT_MSG_GETRULE, nfgenmsg()):
        rules.feed(body)
    rules.end()
    bodies: dict[bytes, EncodedBody] = {body.digest: body for body in rules.bodies.values()}
    for index, chain in enumerate(chains):
        if (body_of := rules.bodies.get(chain.key)) is not None:
            handles = rules.handles[chain.key]
            chains[index] = msgspec.structs.replace(chain, body=body_of.digest, handles=handles)
    sets = [_with_elems(sock, cache, bodies, one) for one in records(nft.NFT_MSG_GETSET, nft.parse_set)]
    objects = records(nft.NFT_MSG_GETOBJ, nft.parse_object)
    objects += records(nft.NFT_MSG_GETFLOWTABLE, nft.parse_flowtable)
    read = dict(zip(NFT_SECTIONS, (tables, chains, sets, objects), strict=True))
    return Ruleset(
        generation,
        {name: _reuse(known.sections[name] if known else {}, found) for name, found in read.items()},
        bodies,
        {key: found for key, found in rules.counts.items() if not _is_observers(key[1])},
    )


def _is_observers(table: str) -> bool:
    """Tell whether a table is there to have a probe traced; it decides nothing, and is gone in seconds."""
    return table.startswith(OWN_TABLES)


def _reuse(known: Mapping[Any, Any], found: Iterable[Any]) -> Mapping[Any, Any]:
    """Key records, taking the known one where an equal one was known, so that memory is shared with the state."""
    keyed = {}
    for record in found:
        key = record.key
        was = known.get(key)
        keyed[key] = was if was == record else record
    return keyed


def _refresh(sock: socket.socket, cache: BodyCache, known: Ruleset) -> Ruleset:
    """Read again the elements of those sets that change without a new generation."""
    changing = [one for one in known.sections["nft_sets"].values() if one.flags & _CHANGING_SETS]
    if not changing:
        return known
    bodies = dict(known.bodies)
    fresh = {one.key: _with_elems(sock, cache, bodies, one) for one in changing}
    sets = {**known.sections["nft_sets"], **fresh}
    used = {one.body for one in sets.values()}
    used.update(chain.body for chain in known.sections["nft_chains"].values())
    return Ruleset(
        known.generation,
        {**known.sections, "nft_sets": _reuse(known.sections["nft_sets"], sets.values())},
        {digest: body for digest, body in bodies.items() if digest in used},
    )


def _with_elems(
    sock: socket.socket, cache: BodyCache, bodies: dict[bytes, EncodedBody], one: NftSet
) -> NftSet:
    """Read a set's elements; their body goes into `bodies`."""
    request_body = nfgenmsg(one.family) + text_attr(1, one.table) + text_attr(2, one.name)
    raw: list[bytes] = []
    for body in stream_dump(sock, nft.NFT_MSG_GETSETELEM, request_body):
        raw += nft.parse_set_elems(body)
    if not raw:
        return msgspec.structs.replace(one, body=EMPTY_BODY)
    kept = cache.elems(raw, stable=not one.flags & _CHANGING_SETS and not one.exprs)
    bodies[kept.digest] = kept
    return msgspec.structs.replace(one, body=kept.digest)
