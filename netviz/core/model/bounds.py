"""The range and length of every field, as types that records are annotated with.

Each is stated here, once. Ranges and greatest lengths are checked by msgspec where bytes become
records; what it can't say stands in `extra` (one of several lengths, a closed list, and `problem_of_all`, which is
given the field's values over many records and says what is wrong in them), and how fields of one
record depend on each other in `Check`s that a record class lists: `netviz.core.model.check` reads both. Building a record checks nothing.

Lengths of text count characters. The collector writes a byte that isn't UTF-8 as four (`\\xff`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

from msgspec import Meta, Struct

U8 = Annotated[int, Meta(ge=0, le=0xFF)]
U16 = Annotated[int, Meta(ge=0, le=0xFFFF)]
U24 = Annotated[int, Meta(ge=0, le=0xFFFFFF)]
U32 = Annotated[int, Meta(ge=0, le=0xFFFFFFFF)]
U64 = Annotated[int, Meta(ge=0)]  # MessagePack has no larger ones
S32 = Annotated[int, Meta(ge=-(1 << 31), le=(1 << 31) - 1)]
S64 = Annotated[int, Meta(ge=-(1 << 63), le=(1 << 63) - 1)]
Count = Annotated[int, Meta(ge=0, le=(1 << 63) - 1)]  # what a database column holds
Seconds = Annotated[float, Meta(ge=0, le=1e11)]

Ifindex = Annotated[int, Meta(ge=1, le=(1 << 31) - 1)]
IfindexRef = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]  # 0: none
Nsid = Annotated[int, Meta(ge=0, le=(1 << 31) - 1)]
Port = U16
VlanId = Annotated[int, Meta(ge=0, le=4095)]
PrefixLen = Annotated[int, Meta(ge=0, le=128)]
Weight = Annotated[int, Meta(ge=1, le=0x10000)]

Ip = Annotated[bytes, Meta(min_length=4, max_length=16, extra={"lengths": (4, 16)})]
IpOrNone = Annotated[bytes, Meta(max_length=16, extra={"lengths": (0, 4, 16)})]
Mac = Annotated[bytes, Meta(max_length=6, extra={"lengths": (0, 6)})]
# A link-layer address: 6 bytes of Ethernet's, 4 and 16 of IP tunnels', 20 of IP over InfiniBand's.
Lladdr = Annotated[bytes, Meta(max_length=32)]  # MAX_ADDR_LEN
Digest = Annotated[bytes, Meta(max_length=16, extra={"lengths": (0, 16)})]
Register = Annotated[bytes, Meta(max_length=64)]  # NFT_DATA_VALUE_MAXLEN
PublicKey = Annotated[bytes, Meta(max_length=32)]

IfName = Annotated[str, Meta(max_length=60)]  # 15 bytes
ShortName = Annotated[str, Meta(max_length=128)]  # of kinds, types, ipsets: 31 bytes
AltName = Annotated[str, Meta(max_length=508)]  # 127 bytes
NftName = Annotated[str, Meta(max_length=1020)]  # 255 bytes
NodeName = Annotated[str, Meta(max_length=253)]
PodName = Annotated[str, Meta(max_length=253)]
FileName = Annotated[str, Meta(max_length=1020)]
Words = Annotated[str, Meta(max_length=4096)]


def one_of(*values: int | str) -> Meta:
    """Say of a field that it takes these values alone."""
    return Meta(extra={"one_of": values})


class Check(Struct, frozen=True):
    """What must hold between fields of one record.

    `columns` names each field with what is looked at of it (`len`, or None for the value itself); `problem`
    takes those values and returns what is wrong with them, or "". It is asked once for all records
    that are the same in this, so it costs nothing for each of them.
    """

    columns: tuple[tuple[str, Callable[[Any], Any] | None], ...]
    problem: Callable[..., str]


def prefix(addr: str, length: str) -> Check:
    """A prefix length lies within its address' width; the empty address has none."""

    def problem(width: int, bits: int) -> str:
        return "" if bits <= width * 8 else f"{length}: {bits} bits of an address of {width} bytes"

    return Check(((addr, len), (length, None)), problem)


def one_family(*addrs: str) -> Check:
    """Addresses that are there are of one family."""

    def problem(*widths: int) -> str:
        return "" if len({*widths} - {0}) <= 1 else f"{', '.join(addrs)}: addresses of two families"

    return Check(tuple((addr, len) for addr in addrs), problem)
