"""What is attached to devices beyond plain queueing: qdiscs that hold filters.

Source: include/uapi/linux/rtnetlink.h (struct tcmsg); net/sched/sch_api.c tc_fill_qdisc (Linux 6.18).
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from agents.netlink.wire import Message, attrs, text

RTM_NEWQDISC, RTM_DELQDISC, RTM_GETQDISC = 36, 37, 38
TCMSG = struct.Struct("=BxxxiIII")  # family, ifindex, handle, parent, info
_KIND = 1
HOOK_KINDS = frozenset({"clsact", "ingress"})


def qdisc_dump_request() -> bytes:
    """Make the body of a dump of all qdiscs."""
    return TCMSG.pack(0, 0, 0, 0, 0)


def parse_tc(messages: Iterable[Message]) -> dict[int, tuple[str, ...]]:
    """Decode a dump of qdiscs: ifindex -> sorted names of those that hook packets. Raises: BadMessage."""
    out: dict[int, set[str]] = {}
    for message in messages:
        if message.type != RTM_NEWQDISC:
            continue
        kind = text(attrs(message.body, 20).get(_KIND))
        if kind in HOOK_KINDS:
            out.setdefault(TCMSG.unpack_from(message.body)[1], set()).add(kind)
    return {ifindex: tuple(sorted(kinds)) for ifindex, kinds in out.items()}


def parse_qdisc_kind(body: bytes) -> str:
    """Return the kind that a qdisc message names. Raises: BadMessage."""
    return text(attrs(body, 20).get(_KIND))
