"""Policy routing rules: RTM_*RULE messages.

Source: include/uapi/linux/fib_rules.h; net/core/fib_rules.c fib_nl_fill_rule, net/ipv4/fib_rules.c
fib4_rule_fill (Linux 6.18).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from functools import lru_cache

import msgspec

from agents.netlink.wire import BE64, Message, attrs, s32, text, u8, u16, u32
from netviz.core.model.addr import AF_INET, AF_INET6
from netviz.core.model.l3 import Rule

RTM_NEWRULE, RTM_DELRULE, RTM_GETRULE = 32, 33, 34
FIB_RULE_HDR = struct.Struct("=BBBBBBBBI")  # family, dst_len, src_len, tos, table, res1, res2, action, flags
_FIB_RULE_INVERT = 0x2
_U16_PAIR = struct.Struct("=HH")
_U32_PAIR = struct.Struct("=II")

(_DST, _SRC, _IIFNAME, _GOTO, _PRIORITY, _FWMARK, _TUN_ID) = (1, 2, 3, 4, 6, 10, 12)
(_SUPPRESS_IFGROUP, _SUPPRESS_PREFIXLEN, _TABLE, _FWMASK, _OIFNAME) = (13, 14, 15, 16, 17)
(_L3MDEV, _UID_RANGE, _PROTOCOL, _IP_PROTO, _SPORT_RANGE, _DPORT_RANGE, _DSCP) = (19, 20, 21, 22, 23, 24, 25)
(_FLOWLABEL, _FLOWLABEL_MASK, _SPORT_MASK, _DPORT_MASK, _DSCP_MASK) = (26, 27, 28, 29, 30)
_BE32 = struct.Struct(">I")


def rule_dump_request(family: int = 0) -> bytes:
    """Make the body of a dump of rules, of both families for 0."""
    return FIB_RULE_HDR.pack(family, 0, 0, 0, 0, 0, 0, 0, 0)


def _pair(shape: struct.Struct, payload: bytes | None) -> tuple[int, int] | None:
    if not payload:
        return None
    low, high = shape.unpack_from(payload)
    return low, high


def _mask(value: int, whole: int) -> int:
    """Normalise a mask: one that takes every bit is the same as none."""
    return 0 if value == whole else value


@lru_cache(maxsize=1024)  # most namespaces have the kernel's own rules and no others
def parse_rule(body: bytes) -> Rule | None:
    """Decode one rule, with `pos` 0; None for families other than IPv4 and IPv6. Raises: BadMessage."""
    family, dst_len, src_len, tos, table, _, _, action, flags = FIB_RULE_HDR.unpack_from(body)
    if family not in (AF_INET, AF_INET6):
        return None
    a = attrs(body, 12)
    return Rule(
        family=family,
        priority=u32(a.get(_PRIORITY)),
        action=action,
        table_id=u32(a.get(_TABLE), table),
        src=a.get(_SRC, b""),
        src_len=src_len,
        dst=a.get(_DST, b""),
        dst_len=dst_len,
        tos=tos,
        dscp=a[_DSCP][0] if a.get(_DSCP) else None,
        iifname=text(a.get(_IIFNAME)),
        oifname=text(a.get(_OIFNAME)),
        fwmark=u32(a.get(_FWMARK)),
        fwmask=u32(a.get(_FWMASK)),
        ip_proto=u8(a.get(_IP_PROTO)),
        sport=_pair(_U16_PAIR, a.get(_SPORT_RANGE)) or (0, 0),
        dport=_pair(_U16_PAIR, a.get(_DPORT_RANGE)) or (0, 0),
        uid_range=_pair(_U32_PAIR, a.get(_UID_RANGE)),
        invert=bool(flags & _FIB_RULE_INVERT),
        goto=u32(a.get(_GOTO)),
        suppress_prefixlen=s32(a.get(_SUPPRESS_PREFIXLEN), -1),
        suppress_ifgroup=s32(a.get(_SUPPRESS_IFGROUP), -1),
        l3mdev=bool(u8(a.get(_L3MDEV))),
        tun_id=BE64.unpack(a[_TUN_ID])[0] if _TUN_ID in a else 0,
        protocol=u8(a.get(_PROTOCOL)),
        sport_mask=_mask(u16(a.get(_SPORT_MASK)), 0xFFFF),
        dport_mask=_mask(u16(a.get(_DPORT_MASK)), 0xFFFF),
        dscp_mask=_mask(u8(a.get(_DSCP_MASK)), 0x3F),
        flowlabel=_BE32.unpack(a[_FLOWLABEL])[0] if _FLOWLABEL in a else 0,
        flowlabel_mask=_BE32.unpack(a[_FLOWLABEL_MASK])[0] if _FLOWLABEL_MASK in a else 0,
    )


def parse_rules(messages: Iterable[Message]) -> Iterator[Rule]:
    """Decode a dump of rules in the kernel's order, numbering those of equal priority."""
    seen: dict[tuple[int, int], int] = {}
    for message in messages:
        if message.type != RTM_NEWRULE or (rule := parse_rule(message.body)) is None:
            continue
        pos = seen.get((rule.family, rule.priority), 0)
        seen[rule.family, rule.priority] = pos + 1
        yield rule if pos == 0 else msgspec.structs.replace(rule, pos=pos)
