"""A set's elements, by questions that stay the same while other elements come and go."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from netviz.core.model.netfilter import Body, NftSet, SetBody, SetElem
from netviz.core.sim.nft.sets import lookup_set
from netviz.core.sim.one_read import one_read
from netviz.core.state.node import NetnsState

SetKey = tuple[int, str, str]


def _without_elements(record: NftSet | None) -> NftSet | None:
    return msgspec.structs.replace(record, body=b"") if record is not None else None


@one_read(sections=("nft_sets",), comparable=_without_elements)
def find_set(ns: NetnsState, key: SetKey) -> NftSet | None:
    """Find a set. Its elements are no part of the answer: `elements_of` and `find_elem` ask for them."""
    return ns.nft_sets.get(key)


def elements_of(ns: NetnsState, key: SetKey, bodies: Mapping[bytes, Body]) -> SetBody | None:
    """Return all of a set's elements in the state; None when they aren't in it."""
    record = ns.nft_sets.get(key)
    if record is None:
        return None
    body = bodies.get(record.body) if record.body else SetBody()
    return body if isinstance(body, SetBody) else None


@one_read(sections=("nft_sets",))
def has_elements(ns: NetnsState, key: SetKey, *, bodies: Mapping[bytes, Body]) -> bool:
    """Tell whether a set and its elements are in the state."""
    return elements_of(ns, key, bodies) is not None


@one_read(sections=("nft_sets",))
def find_elem(ns: NetnsState, key: SetKey, data: bytes, *, bodies: Mapping[bytes, Body]) -> SetElem | None:
    """Find the element of a set that matches; None where none does, or the elements aren't in the state."""
    record, body = ns.nft_sets.get(key), elements_of(ns, key, bodies)
    return lookup_set(record, body, data) if record is not None and body is not None else None


@one_read(sections=("nft_sets",))
def shown_of(ns: NetnsState, key: SetKey, *, bodies: Mapping[bytes, Body]) -> tuple[SetBody, int] | None:
    """Return what a rule's text shows of a set, and the datatype of a map's values; None when it isn't in the state.

    Of an unnamed set those are its elements, of a named one, whose name is shown, no more than how long a key is.
    """
    record, body = ns.nft_sets.get(key), elements_of(ns, key, bodies)
    if record is None or body is None:
        return None
    if not record.name.startswith("__"):
        body = SetBody(tuple(SetElem(bytes(len(elem.key))) for elem in body.elems[:1]))
    return body, record.data_type
