"""The payloads of targets: raw bytes to values, by name and revision (see `decode_matches`)."""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

from netviz.core.sim.xtables import payloads, target_payloads
from netviz.core.sim.xtables.decode_matches import flags_byte, set_ref
from netviz.core.sim.xtables.payloads import text, unpack


def _mark_set(info: bytes) -> target_payloads.MarkSet:
    return target_payloads.MarkSet(*unpack("II", info))


def _connmark_set(info: bytes) -> target_payloads.ConnmarkSet:
    return target_payloads.ConnmarkSet(*unpack("IIIB", info))


def _connmark_set2(info: bytes) -> target_payloads.ConnmarkSet:
    ctmark, ctmask, nfmask, direction, bits, mode = unpack("IIIBBB", info)
    return target_payloads.ConnmarkSet(ctmark, ctmask, nfmask, mode, bool(direction), bits)


def _ct_set(info: bytes) -> target_payloads.CtSet:
    flags, zone, events, expect_events = unpack("HHII", info)
    return target_payloads.CtSet(flags, zone, text(info[12:28]), text(info[28:60]), events, expect_events)


def _notrack(_info: bytes) -> target_payloads.CtSet:
    return target_payloads.CtSet(1, 0)


def _range(info: bytes) -> target_payloads.Range:
    (flags,) = unpack("I", info)
    low, high = struct.unpack_from(">HH", info, 36)
    return target_payloads.Range(flags, info[4:20], info[20:36], low, high)


def _range4(info: bytes) -> target_payloads.Range:
    """Read nf_nat_ipv4_multi_range_compat: one range behind a count."""
    _count, flags = unpack("II", info)
    low, high = struct.unpack_from(">HH", info, 16)
    return target_payloads.Range(flags, info[8:12], info[12:16], low, high)


def _u32_number(info: bytes) -> payloads.Number:
    return payloads.Number(unpack("I", info)[0])


def _u16_number(info: bytes) -> payloads.Number:
    return payloads.Number(unpack("H", info)[0])


def _two_bytes(info: bytes) -> payloads.Number:
    return payloads.Number(*unpack("BB", info))


def _ttl_set(info: bytes) -> payloads.Number:
    mode, value = unpack("BB", info)
    return payloads.Number(value, mode)


def _tproxy(info: bytes) -> target_payloads.Tproxy:
    mask, value = unpack("II", info)
    return target_payloads.Tproxy(mask, value, info[8:24], struct.unpack_from(">H", info, 24)[0])


def _log(info: bytes) -> target_payloads.Log:
    level, flags = unpack("BB", info)
    return target_payloads.Log(text(info[2:32]), level, flags)


def _nflog(info: bytes) -> target_payloads.Log:
    _len, group, _threshold, _flags = unpack("IHHH", info)
    return target_payloads.Log(text(info[12:76]), group=group)


def _set_change(info: bytes) -> target_payloads.SetChange:
    return target_payloads.SetChange(set_ref(info), set_ref(info, 4))


def _set_change3(info: bytes) -> target_payloads.SetChange:
    return target_payloads.SetChange(
        set_ref(info), set_ref(info, 4), set_ref(info, 8), unpack("I", info, 12)[0]
    )


def _ct_set0(info: bytes) -> target_payloads.CtSet:
    flags, zone, events, expect_events = unpack("HHII", info)
    return target_payloads.CtSet(flags, zone, text(info[12:28]), events=events, expect_events=expect_events)


def _tproxy0(info: bytes) -> target_payloads.Tproxy:
    """Read xt_tproxy_target_info: an IPv4 address."""
    mask, value = unpack("II", info)
    return target_payloads.Tproxy(
        mask, value, info[8:12].ljust(16, b"\0"), struct.unpack_from(">H", info, 12)[0]
    )


def _queue(info: bytes) -> target_payloads.Queue:
    fields = unpack(f"{min(len(info) // 2, 3)}H", info)
    return target_payloads.Queue(*fields)


def _ecn_set(info: bytes) -> target_payloads.EcnSet:
    return target_payloads.EcnSet(*unpack("BBB", info))


def _hmark(info: bytes) -> target_payloads.Hmark:
    flags, proto_mask, seed, modulus, offset = unpack("IH2xIII", info, 40)
    return target_payloads.Hmark(
        info[:16], info[16:32], info[32:36], info[36:40], flags, proto_mask, seed, modulus, offset
    )


def _prefixes(info: bytes) -> target_payloads.Prefixes:
    src_len, dst_len, adjustment = unpack("BBH", info, 32)
    return target_payloads.Prefixes(info[:16], info[16:32], src_len, dst_len, adjustment)


def _tee(info: bytes) -> target_payloads.Gateway:
    if len(info) < 32:
        raise struct.error("too short")
    return target_payloads.Gateway(info[:16], text(info[16:32]))


def _strip(info: bytes) -> target_payloads.Options:
    bits = int.from_bytes(info[:32], "little")
    return target_payloads.Options(frozenset(kind for kind in range(256) if bits >> kind & 1))


def _idletimer(info: bytes) -> target_payloads.Timer:
    return target_payloads.Timer(text(info[4:32]), unpack("I", info)[0])


def _rateest_set(info: bytes) -> target_payloads.Estimator:
    interval, ewma_log = unpack("bB", info, 16)
    return target_payloads.Estimator(text(info[:16]), interval, ewma_log)


TARGETS: dict[tuple[str, int], Callable[[bytes], Any]] = {
    ("MARK", 2): _mark_set,
    ("CONNMARK", 1): _connmark_set,
    ("CONNMARK", 2): _connmark_set2,
    ("CT", 0): _ct_set0,
    **{("CT", rev): _ct_set for rev in (1, 2)},
    ("NOTRACK", 0): _notrack,
    ("DNAT", 0): _range4,
    ("DNAT", 1): _range,
    ("DNAT", 2): _range,
    ("SNAT", 0): _range4,
    ("SNAT", 1): _range,
    ("SNAT", 2): _range,
    ("REJECT", 0): _u32_number,
    ("TPROXY", 0): _tproxy0,
    ("TPROXY", 1): _tproxy,
    ("TCPMSS", 0): _u16_number,
    ("LOG", 0): _log,
    ("NFLOG", 0): _nflog,
    ("AUDIT", 0): flags_byte,
    ("CHECKSUM", 0): flags_byte,
    ("CLASSIFY", 0): _u32_number,
    ("SET", 1): _set_change,
    ("SET", 2): _set_change,
    ("SET", 3): _set_change3,
    ("TOS", 1): _two_bytes,
    ("DSCP", 0): flags_byte,
    ("TTL", 0): _ttl_set,
    ("HL", 0): _ttl_set,
    **{("NFQUEUE", rev): _queue for rev in (0, 1, 2, 3)},
    ("ECN", 0): _ecn_set,
    ("HMARK", 0): _hmark,
    ("SNPT", 0): _prefixes,
    ("DNPT", 0): _prefixes,
    ("TEE", 1): _tee,
    ("TCPOPTSTRIP", 0): _strip,
    ("IDLETIMER", 0): _idletimer,
    ("IDLETIMER", 1): _idletimer,
    ("RATEEST", 0): _rateest_set,
    ("CONNSECMARK", 0): flags_byte,
}

# Targets of one name and revision that IPv4 and IPv6 lay out differently.
BY_FAMILY: dict[tuple[str, bool], Callable[[bytes], Any]] = {
    (name, ipv6): decoder
    for name in ("MASQUERADE", "REDIRECT", "NETMAP")
    for ipv6, decoder in ((False, _range4), (True, _range))
}
