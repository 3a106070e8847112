"""Which ranges contain an address or a range, and which addresses lie in one: by numbers, where text can't tell."""

from __future__ import annotations

import ipaddress
from collections.abc import Hashable, Iterator
from typing import Generic, NamedTuple, TypeVar

from netviz.core.model.addr import format_ip, mask_ip

K = TypeVar("K", bound=Hashable)


class Range(NamedTuple):
    """A prefix; a whole address has all bits of its family."""

    addr: bytes
    length: int

    @property
    def whole(self) -> bool:
        """Whether it is one address."""
        return self.length == 8 * len(self.addr)

    def has(self, text: str) -> bool:
        """Tell whether an address, given as text, lies in it; anything else does not."""
        found = parse_range(text)
        return (
            found is not None
            and found.whole
            and len(found.addr) == len(self.addr)
            and mask_ip(found.addr, self.length) == self.addr
        )

    def stem(self) -> str:
        """What all its addresses begin with as they are written, so that few others have to be looked at."""
        if len(self.addr) == 4:
            return "".join(f"{byte}." for byte in self.addr[: self.length // 8])
        stem = ""
        for at in range(self.length // 16):
            group = int.from_bytes(self.addr[2 * at : 2 * at + 2], "big")
            if not group:  # it may be written as ::
                break
            stem += f"{group:x}:"
        return stem


def parse_range(text: str) -> Range | None:
    """Read an address or a prefix, whose host bits are cleared; None where it is neither."""
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return None
    return Range(network.network_address.packed, network.prefixlen)


def format_range(wanted: Range) -> str:
    """Write a range as it is searched: one address without a length."""
    return format_ip(wanted.addr) if wanted.whole else f"{format_ip(wanted.addr)}/{wanted.length}"


class Prefixes(Generic[K]):
    """Things by their prefixes; one probe for each length that there is finds those that contain an address."""

    def __init__(self) -> None:
        self._levels: dict[tuple[int, int], dict[bytes, dict[K, None]]] = {}

    def add(self, addr: bytes, length: int, key: K) -> None:
        """Take a prefix of a thing in."""
        level = self._levels.setdefault((len(addr), length), {})
        level.setdefault(addr, {})[key] = None

    def drop(self, addr: bytes, length: int, key: K) -> None:
        """Take it out."""
        level = self._levels.get((len(addr), length), {})
        keys = level.get(addr, {})
        keys.pop(key, None)
        if not keys:
            level.pop(addr, None)

    def containing(self, wanted: Range) -> Iterator[tuple[int, K]]:
        """Yield the length and the thing of each prefix that has all of a range in it, longest first."""
        for width, length in sorted(self._levels, reverse=True):
            if width == len(wanted.addr) and length <= wanted.length:
                for key in list(self._levels[width, length].get(mask_ip(wanted.addr, length), ())):
                    yield length, key
