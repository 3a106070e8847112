"""What a translated connection becomes: the tuple that the kernel makes unique within what a rule allows.

Where the kernel draws a port at random, no one can say which: the tuple then has one that is allowed,
and is said not to be sure.

Source: net/netfilter/nf_nat_core.c, get_unique_tuple, in_range, find_appropriate_src,
find_best_ips_proto, nf_nat_l4proto_unique_tuple (Linux 6.18).
"""

from __future__ import annotations

import msgspec

from netviz.core.model.conntrack import CtTuple
from netviz.core.sim.conntrack.track import mapped_sources, taken
from netviz.core.sim.nft.jhash import jhash2
from netviz.core.sim.packet import IPPROTO_ICMP, IPPROTO_ICMPV6, IPPROTO_TCP, IPPROTO_UDP, invert
from netviz.core.sim.run import Run
from netviz.core.state.node import NetnsState

IPPROTO_DCCP, IPPROTO_SCTP, IPPROTO_UDPLITE = 33, 132, 136
WITH_PORTS = (IPPROTO_TCP, IPPROTO_UDP, IPPROTO_DCCP, IPPROTO_SCTP, IPPROTO_UDPLITE)
ICMPS = (IPPROTO_ICMP, IPPROTO_ICMPV6)
MAX_ATTEMPTS = 128
MAX_BRANCHES = 16  # a random choice among more ports than these isn't followed port by port
U32 = 0xFFFFFFFF


class NatMapping(msgspec.Struct, frozen=True, gc=False):
    """What a nat statement asks for: a range of addresses and of ports, either absent.

    `base` is the first port of what a shifted range is counted from, None for a plain one. `error`
    says why the mapping isn't known; `drop` that the packet is dropped.
    """

    source: bool
    low: bytes = b""
    high: bytes = b""
    ports: tuple[int, int] | None = None
    random: bool = False
    persistent: bool = False
    base: int | None = None
    error: str = ""
    drop: bool = False


def unique_tuple(
    run: Run, ns: NetnsState, number: int, current: CtTuple, wanted: NatMapping
) -> tuple[CtTuple, bool]:
    """Choose the tuple for the connection with a number, which has `current` now. The flag tells whether it is certain.

    Where every one that is allowed is taken, the connection gets one that is, and is dropped when it is confirmed.
    """

    def used(t: CtTuple) -> bool:
        return taken(run, ns, invert(t), number)

    if wanted.source and not wanted.random:
        if _in_range(current, wanted):
            if not used(current):
                return current, True
        else:
            found = [t for t in _as_others(run, ns, number, current) if _in_range(t, wanted)]
            if found and not used(found[0]):
                return found[0], len(set(found)) == 1
    made = _with_address(current, wanted, run.memory.conns[number].zone)
    if not wanted.random:
        ports = wanted.ports
        if ports is None or not _has_key(made):
            if not used(made):
                return made, True
        elif wanted.base is None and _key_in_range(made, wanted) and (ports[0] == ports[1] or not used(made)):
            return made, True
    return _another_port(run, ns, number, made, wanted)


def _as_others(run: Run, ns: NetnsState, number: int, current: CtTuple) -> list[CtTuple]:
    """List the connection's tuple with its source as other connections of the same source have it."""
    return [
        msgspec.structs.replace(current, src=t.src, sport=t.sport) for t in mapped_sources(run, ns, number)
    ]


def _has_key(t: CtTuple) -> bool:
    return t.proto in WITH_PORTS or t.proto in ICMPS


def _key_of(t: CtTuple, source: bool) -> int:
    return t.sport if source or t.proto in ICMPS else t.dport


def _key_in_range(t: CtTuple, wanted: NatMapping) -> bool:
    if wanted.ports is None or not _has_key(t):
        return True
    low, high = wanted.ports
    return low <= _key_of(t, wanted.source) <= high


def _in_range(t: CtTuple, wanted: NatMapping) -> bool:
    return (not wanted.low or wanted.low <= t.src <= wanted.high) and _key_in_range(t, wanted)


def _with_address(t: CtTuple, wanted: NatMapping, zone: int) -> CtTuple:
    """Put in the address of a range that the kernel's hash of the flow's addresses chooses."""
    if not wanted.low:
        return t
    addr = wanted.low if wanted.low == wanted.high else _hashed_address(t, wanted, zone)
    return msgspec.structs.replace(t, src=addr) if wanted.source else msgspec.structs.replace(t, dst=addr)


def _words(data: bytes, order: str) -> list[int]:
    return [
        int.from_bytes(data[i : i + 4], "big" if order == "big" else "little") for i in range(0, len(data), 4)
    ]


def _hashed_address(t: CtTuple, wanted: NatMapping, zone: int) -> bytes:
    """Choose an address of a range as a little-endian kernel does: by jhash2 over host-order words."""
    dst = _words(t.dst, "little")
    last = len(dst) - 1
    number = jhash2(_words(t.src.ljust(16, b"\0"), "little"), 0 if wanted.persistent else dst[last] ^ zone)
    low, high = _words(wanted.low, "big"), _words(wanted.high, "big")
    full = False
    out = []
    # The kernel reads the destination as it rewrites it: for a translated destination, the new words.
    for i in range(last + 1):
        first, count = (0, U32) if full else (low[i], (high[i] - low[i] + 1) & U32)
        word = (first + (number * count >> 32)) & U32
        out.append(word)
        if word != high[i]:
            full = True
        if not wanted.persistent:
            seen = dst[i] if wanted.source else int.from_bytes(word.to_bytes(4, "big"), "little")
            number ^= seen
    return b"".join(word.to_bytes(4, "big") for word in out)


def _another_port(
    run: Run, ns: NetnsState, number: int, t: CtTuple, wanted: NatMapping
) -> tuple[CtTuple, bool]:
    """Take another port of those allowed. Source: nf_nat_core.c, nf_nat_l4proto_unique_tuple (Linux 6.18)."""
    if not _has_key(t):
        return t, True
    key = _key_of(t, wanted.source)
    if t.proto in ICMPS:
        low, high = wanted.ports or (0, 65535)
    elif wanted.ports is not None:
        low, high = min(wanted.ports), max(wanted.ports)
    elif not wanted.source:
        return t, True
    else:
        low, high = (1, 511) if key < 512 else (600, 1023) if key < 1024 else (1024, 65535)
    size = high - low + 1

    def having(value: int) -> CtTuple:
        if wanted.source or t.proto in ICMPS:
            return msgspec.structs.replace(t, sport=value)
        return msgspec.structs.replace(t, dport=value)

    if size == 1 or wanted.base is not None:
        first, attempts = key - (wanted.base or 0), min(size, MAX_ATTEMPTS)
    elif size <= MAX_BRANCHES:
        orig = run.memory.conns[number].orig
        first = run.choose(("nat port", ns.key, orig, wanted.source), size, (1 / size,) * size)
        attempts = size
    else:
        return having(key if low <= key <= high else low), False
    # A destination that clashes in the end may be made unique by the source's port.
    made = t
    for attempt in range(attempts):
        made = having(low + (first + attempt) % size)
        if not taken(run, ns, invert(made), number):
            break
    return made, True
