"""Payloads of the matches that look at more than the packet: connections, counters, clocks, programs."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from netviz.core.sim.xtables import payloads
from netviz.core.sim.xtables.payloads import text, unpack


def _conntrack(rev: int) -> Callable[[bytes], payloads.Conntrack]:
    def decode(info: bytes) -> payloads.Conntrack:
        raw = [info[i : i + 16] for i in range(0, 128, 16)]
        low, high, proto = unpack("IIH", info, 128)
        masks = "HHHH" if rev >= 2 else "HHBB"
        flags, invert, state, status = unpack(masks, info, 146)
        lows = struct.unpack_from("<HHHH" if rev == 3 else ">HHHH", info, 138)
        highs = unpack("HHHH", info, 154) if rev == 3 else lows
        addrs = tuple((raw[i], raw[i + 1]) for i in range(0, 8, 2))
        return payloads.Conntrack(
            addrs, tuple(zip(lows, highs, strict=True)), (low, high), proto, flags, invert, state, status
        )

    return decode


def _state(info: bytes) -> payloads.Conntrack:
    """xt_state_info: conntrack's states alone; "untracked" has another bit there."""
    (mask,) = unpack("I", info)
    mask = (mask & ~0x40) | (0x100 if mask & 0x40 else 0)
    none = ((bytes(16), bytes(16)),) * 4
    return payloads.Conntrack(none, ((0, 0),) * 4, (0, 0), 0, 1, 0, mask, 0)


def _statistic(info: bytes) -> payloads.Statistic:
    mode, flags = unpack("HH", info)
    if mode == 1:
        every, packet, _count = unpack("III", info, 4)
        return payloads.Statistic(True, bool(flags & 1), every=every + 1, packet=packet)
    (probability,) = unpack("I", info, 4)
    return payloads.Statistic(False, bool(flags & 1), probability=probability / 0x80000000)


def _recent(info: bytes) -> payloads.Recent:
    seconds, hits, check, invert = unpack("IIBB", info)
    (side,) = unpack("B", info, 210)
    mask = info[212:228] if len(info) >= 228 else b""
    return payloads.Recent(seconds, hits, check, bool(invert), text(info[10:210]), side, mask)


def _limit(info: bytes) -> payloads.Limit:
    return payloads.Limit(*unpack("II", info))


def _hashlimit1(info: bytes) -> payloads.HashLimit:
    mode, avg, burst, size, most, gc, expire, src, dst = unpack("7I2B", info, 16)
    return payloads.HashLimit(text(info[:16]), mode, avg, burst, size, most, gc, expire, src, dst, 0, 10_000)


def _hashlimit2(info: bytes) -> payloads.HashLimit:
    avg, burst, mode, size, most, gc, expire, src, dst = unpack("2Q5I2B", info, 256)
    name = text(info[:255])
    return payloads.HashLimit(name, mode, avg, burst, size, most, gc, expire, src, dst, 0, 1_000_000)


def _hashlimit3(info: bytes) -> payloads.HashLimit:
    avg, burst, mode, size, most, gc, expire, interval, src, dst = unpack("2Q6I2B", info, 256)
    name = text(info[:255])
    return payloads.HashLimit(name, mode, avg, burst, size, most, gc, expire, src, dst, interval, 1_000_000)


def _time(info: bytes) -> payloads.Time:
    d0, d1, t0, t1, month, week, flags = unpack("5I2B", info)
    return payloads.Time((d0, d1), (t0, t1), month, week, flags)


def _connbytes(info: bytes) -> payloads.ConnBytes:
    return payloads.ConnBytes(*unpack("QQBB", info))


def _connlimit(info: bytes) -> payloads.ConnLimit:
    return payloads.ConnLimit(info[:16], *unpack("II", info, 16))


def _connlabel(info: bytes) -> payloads.ConnLabel:
    return payloads.ConnLabel(*unpack("HH", info))


def _cluster(info: bytes) -> payloads.Cluster:
    total, mask, seed, flags = unpack("4I", info)
    return payloads.Cluster(total, mask, seed, bool(flags & 1))


def _quota(info: bytes) -> payloads.Quota:
    flags, quota = unpack("I4xQ", info)
    return payloads.Quota(bool(flags & 1), quota)


def _rateest(info: bytes) -> payloads.RateEst:
    flags, mode, bps1, pps1, bps2, pps2 = unpack("HH4I", info, 32)
    names = text(info[:16]), text(info[16:32])
    return payloads.RateEst(names, flags, mode, (bps1, bps2), (pps1, pps2))


def _helper(info: bytes) -> payloads.Named:
    return payloads.Named(text(info[4:34]), invert=bool(unpack("i", info)[0]))


def _nfacct(info: bytes) -> payloads.Named:
    return payloads.Named(text(info[:32]))


def _bpf0(info: bytes) -> payloads.Program:
    (count,) = unpack("H", info)
    return payloads.Program(_bytecode(info[4:], count))


def _bpf1(info: bytes) -> payloads.Program:
    mode, count = unpack("HH", info)
    return payloads.Program(_bytecode(info[8:], count) if mode == 0 else text(info[8:520]))


def _bytecode(code: bytes, count: int) -> str:
    words = [str(count)]
    for at in range(0, 8 * min(count, 64), 8):
        op, true, false, value = unpack("HBBI", code, at)
        words.append(f"{op} {true} {false} {value}")
    return ",".join(words)


STATE_MATCHES: dict[tuple[str, int], Callable[[bytes], Any]] = {
    **{("conntrack", rev): _conntrack(rev) for rev in (1, 2, 3)},
    ("state", 0): _state,
    ("statistic", 0): _statistic,
    ("recent", 0): _recent,
    ("recent", 1): _recent,
    ("limit", 0): _limit,
    ("nfacct", 0): _nfacct,
    ("nfacct", 1): _nfacct,
    ("helper", 0): _helper,
    ("hashlimit", 1): _hashlimit1,
    ("hashlimit", 2): _hashlimit2,
    ("hashlimit", 3): _hashlimit3,
    ("time", 0): _time,
    ("connbytes", 0): _connbytes,
    ("connlimit", 1): _connlimit,
    ("connlabel", 0): _connlabel,
    ("cluster", 0): _cluster,
    ("quota", 0): _quota,
    ("rateest", 0): _rateest,
    ("bpf", 0): _bpf0,
    ("bpf", 1): _bpf1,
}
