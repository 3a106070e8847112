"""Netfilter bodies that are kept encoded and decoded when somebody looks.

A node of 10,000 services has 30,000 chains, of which a trace sees a dozen: encoded they take a
twentieth of the memory. What was decoded is kept, up to a bound, so that indexes built over a body
(which go by identity) stay valid from one trace to the next.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator, Mapping

from netviz.core.model.netfilter import Body
from netviz.core.state.door import UNREADABLE, read_body
from netviz.core.state.node import BODY_SECTIONS, NetnsState

Encoded = bytes | memoryview
MAX_DECODED_BYTES = 8 << 20


def digests_of(ns: NetnsState) -> Iterator[bytes]:
    """Every digest that a namespace's records carry, repeated as often as they do."""
    for section in BODY_SECTIONS:
        for record in getattr(ns, section).values():
            if record.body:
                yield record.body


class Decoded:
    """The bodies decoded last, by digest, up to so many encoded bytes of them. May be shared by views."""

    def __init__(self, max_bytes: int = MAX_DECODED_BYTES) -> None:
        self._max_bytes = max_bytes
        self._bytes = 0
        self._kept: OrderedDict[bytes, tuple[Body, int]] = OrderedDict()

    def get(self, digest: bytes) -> Body | None:
        """Return a body that is still kept."""
        found = self._kept.get(digest)
        return found[0] if found is not None else None

    def keep(self, digest: bytes, body: Body, size: int) -> None:
        """Keep a body; past the bound, those go that came first."""
        if digest in self._kept:
            return
        self._kept[digest] = (body, size)
        self._bytes += size
        while self._bytes > self._max_bytes and len(self._kept) > 1:
            _, (_, gone) = self._kept.popitem(last=False)
            self._bytes -= gone


class EncodedBodies(Mapping[bytes, Body]):
    """Digest -> body, over encoded bodies. One that cannot be decoded counts as missing."""

    def __init__(self, encoded: Mapping[bytes, Encoded], decoded: Decoded | None = None) -> None:
        self._encoded = encoded
        self._decoded = decoded if decoded is not None else Decoded()

    def __getitem__(self, digest: bytes) -> Body:
        """Decode a body. Raises: KeyError."""
        kept = self._decoded.get(digest)
        if kept is not None and digest in self._encoded:
            return kept
        raw = self._encoded[digest]
        try:
            body = read_body(raw)
        except UNREADABLE:
            raise KeyError(digest) from None
        self._decoded.keep(digest, body, len(raw))
        return body

    def __contains__(self, digest: object) -> bool:
        """Tell whether there is such a body, without decoding it."""
        return digest in self._encoded

    def __iter__(self) -> Iterator[bytes]:
        """Iterate over the digests."""
        return iter(self._encoded)

    def __len__(self) -> int:
        """Count the bodies."""
        return len(self._encoded)
