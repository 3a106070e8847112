"""nftables' trace messages for the probe alone: rule by rule, with handle and verdict, by namespace.

A table of our own in each namespace has rules for each mark of the probe (`marks`), before the raw tables' priority, that set
`meta nftrace`, and chains without rules just after connection tracking, at which the kernel (since Linux 6.16) says what the
packet's connection is. The table is owned by the socket that made it: the kernel removes it when that is closed, also when the
process is killed, and lets nobody else change it. Other tables are not touched.

It sees base chains of the families inet, ip and ip6 that come after its own, hooks of bridges and of devices not. A
message doesn't say whose packet it is, but its headers do; what follows of the same trace id belongs to them. Of a tunnel's
packet and of an ICMP error a message has too little: those are known by the chain of ours that had them traced.

Source: net/netfilter/nf_tables_trace.c; nf_tables_api.c, nft_rcv_nl_event (tables with NFT_TABLE_F_OWNER); nft_meta.c,
nft_meta_set_eval (Linux 6.18).
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Sequence
from itertools import count

from agents.collectors.base import NetnsHandle
from agents.netlink.nfnetlink import NETLINK_NETFILTER, NFNL_SUBSYS_NFTABLES, nfgenmsg, number, text_attr
from agents.netlink.nftables import NFT_MSG_NEWCHAIN, NFT_MSG_NEWRULE, NFT_MSG_NEWTABLE
from agents.netlink.wire import (
    BE32,
    HEADER,
    NLM_F_ACK,
    NLM_F_REQUEST,
    NLMSG_ERROR,
    attr,
    attrs,
    parse_messages,
    raise_error,
    receive_answer,
    received,
    text,
)
from agents.observers.marks import Mark, Part
from netviz.core.model.netfilter import NFPROTO_INET
from netviz.core.observe.frame import Answers, Frame, outer_frame, parse_frame
from netviz.core.observe.sighting import OWN_TABLES, RuleEvent, RuleKind

NFNLGRP_NFTRACE = 9
NFT_MSG_TRACE = NFNL_SUBSYS_NFTABLES << 8 | 17
PRIORITY = -350
TRACKED_PRIORITY = -190  # connection tracking has -200, translation -100
_BATCH_BEGIN, _BATCH_END = 16, 17
_NLM_F_CREATE, _NLM_F_EXCL, _NLM_F_APPEND, _OWNER = 0x400, 0x200, 0x800, 2
_NESTED = 0x8000
_REGISTER, _L4PROTO, _NFTRACE, _TRANSPORT = 1, 16, 12, 2
_HOOKS = {"prerouting": 0, "output": 3}
_TRACKED = {f"tracked-{name}": hook for name, hook in _HOOKS.items()}
_SAYS = "probe-"  # how the names of chains begin that have a packet traced and say what it is
_LOOK = "others"  # our chain that finds what has too little in a message
_JUMP, _GOTO = -3, -4
_KINDS: dict[int, RuleKind] = {1: "policy", 2: "return", 3: "rule"}
_VERDICTS = {
    0: "drop",
    1: "accept",
    2: "stolen",
    3: "queue",
    0xFFFFFFFF: "continue",
    0xFFFFFFFE: "break",
    0xFFFFFFFD: "jump",
    0xFFFFFFFC: "goto",
    0xFFFFFFFB: "return",
}
_numbers, _tables = count(1), count(1)


def _be32(value: int) -> bytes:
    return BE32.pack(value & 0xFFFFFFFF)


def _nest(kind: int, *parts: bytes) -> bytes:
    return attr(kind | _NESTED, b"".join(parts))


def _expr(name: str, *parts: bytes) -> bytes:
    return _nest(1, text_attr(1, name), _nest(2, *parts))


def _value(kind: int, data: bytes) -> bytes:
    return _nest(kind, attr(1, data))


def _to(verdict: int, chain: str) -> bytes:
    to = attr(1, _be32(verdict)) + text_attr(2, chain)
    return _expr("immediate", attr(1, _be32(0)), _nest(2, _nest(2, to)))


_SET_NFTRACE = _expr("immediate", attr(1, _be32(_REGISTER)), _value(2, b"\x01")) + _expr(
    "meta", attr(2, _be32(_NFTRACE)), attr(3, _be32(_REGISTER))
)


def _compare(part: Part) -> bytes:
    """Make the expressions that compare bytes of the transport header."""
    register, length = attr(1, _be32(_REGISTER)), attr(4, _be32(len(part.value)))
    where = attr(2, _be32(_TRANSPORT)) + attr(3, _be32(part.offset)) + length
    return _expr("payload", register, where) + _expr(
        "cmp", register, attr(2, _be32(0)), _value(3, part.value)
    )


def _rule(mark: Mark) -> bytes:
    """Make a rule's expressions: l4proto, the mark's bytes, then to the chain that says what it is, or meta nftrace set 1."""
    register = attr(1, _be32(_REGISTER))
    return b"".join(
        [
            _expr("meta", register, attr(2, _be32(_L4PROTO))),
            _expr("cmp", register, attr(2, _be32(0)), _value(3, bytes([mark.proto]))),
            *(_compare(part) for part in mark.parts),
            _to(_GOTO, _SAYS + mark.says) if mark.says else _SET_NFTRACE,
        ]
    )


def _chain(table: str, name: str, hook: int, priority: int) -> bytes:
    place = _nest(4, attr(1, _be32(hook)), attr(2, _be32(priority)))
    return text_attr(1, table) + text_attr(3, name) + place + text_attr(7, "filter")


def batch(table: str, wanted: Sequence[Mark]) -> tuple[bytes, int]:
    """Make the transaction that makes our table; return it and the number of messages that are answered."""
    inet = nfgenmsg(NFPROTO_INET)
    messages = [(NFT_MSG_NEWTABLE, _NLM_F_EXCL, text_attr(1, table) + attr(2, _be32(_OWNER)))]
    for hooks, priority in ((_HOOKS, PRIORITY), (_TRACKED, TRACKED_PRIORITY)):
        messages += [
            (NFT_MSG_NEWCHAIN, 0, _chain(table, name, hook, priority)) for name, hook in hooks.items()
        ]
    says = sorted({_SAYS + mark.says for mark in wanted if mark.says})
    rules = [(name, _SET_NFTRACE) for name in says]
    rules += [(_LOOK, _rule(mark)) for mark in wanted if mark.says]
    for hook in _HOOKS:
        rules += [(hook, _rule(mark)) for mark in wanted if not mark.says]
        rules.append((hook, _to(_JUMP, _LOOK)))
    messages += [(NFT_MSG_NEWCHAIN, 0, text_attr(1, table) + text_attr(3, name)) for name in (*says, _LOOK)]
    messages += [
        (NFT_MSG_NEWRULE, _NLM_F_APPEND, text_attr(1, table) + text_attr(2, chain) + _nest(4, exprs))
        for chain, exprs in rules
    ]
    flags = NLM_F_REQUEST | NLM_F_ACK | _NLM_F_CREATE
    subsystem = b"\0\0" + NFNL_SUBSYS_NFTABLES.to_bytes(2, "big")
    out = [_message(_BATCH_BEGIN, NLM_F_REQUEST, subsystem)]
    out += [_message(kind, flags | more, inet + body) for kind, more, body in messages]
    out.append(_message(_BATCH_END, NLM_F_REQUEST, subsystem))
    return b"".join(out), len(messages)


def _message(kind: int, flags: int, body: bytes) -> bytes:
    return HEADER.pack(HEADER.size + len(body), kind, flags, next(_numbers) & 0xFFFFFFFF, 0) + body


class NftTrace:
    """Our tables, and what they had the kernel tell."""

    def __init__(self, wanted: Sequence[Mark], number: int, answers: Answers | None = None) -> None:
        """Have what has the marks traced; `number` is the probe's."""
        self._wanted = wanted
        self._number = number
        self._answers = answers
        self._table = f"{OWN_TABLES}{os.getpid()}-{next(_tables)}"
        self._owners: list[socket.socket] = []
        self._heard: dict[str, socket.socket] = {}
        self._frames: dict[str, dict[int, Frame]] = {}
        self.lost = 0

    def add(self, place: str, ns: NetnsHandle) -> None:
        """Watch a namespace: listen first, then have the probe traced. Raises: OSError."""
        events = ns.open_netlink(NETLINK_NETFILTER, (NFNLGRP_NFTRACE,))
        self._heard[place] = events
        owner = ns.open_netlink(NETLINK_NETFILTER)
        self._owners.append(owner)
        data, answers = batch(self._table, self._wanted)
        try:
            owner.send(data)
            _check(owner, answers)
        except OSError:
            self._heard.pop(place).close()
            raise

    @property
    def places(self) -> frozenset[str]:
        """The namespaces watched."""
        return frozenset(self._heard)

    def read(self) -> list[RuleEvent]:
        """Read what was told, of each namespace in its order."""
        return [event for place, sock in self._heard.items() for event in self._read(place, sock)]

    def sockets(self) -> list[socket.socket]:
        """The sockets, to wait for."""
        return list(self._heard.values())

    def _read(self, place: str, sock: socket.socket) -> Iterator[RuleEvent]:
        frames = self._frames.setdefault(place, {})
        for kind, _flags, _seq, body in received(sock, self._lose):
            if kind == NFT_MSG_TRACE:
                event = parse_trace(place, body, frames, self._number, self._answers)
                if event is not None:
                    yield event

    def _lose(self) -> None:
        self.lost += 1

    def close(self) -> None:
        """Remove the tables, by closing the sockets that own them."""
        for sock in (*self._owners, *self._heard.values()):
            sock.close()
        self._owners.clear()
        self._heard.clear()


def _check(sock: socket.socket, answers: int) -> None:
    """Read the answers to a transaction. Raises: OSError with the first error."""
    while answers:
        for kind, _flags, _seq, body in parse_messages(receive_answer(sock)):
            if kind == NLMSG_ERROR:
                raise_error(body)
                answers -= 1


def parse_trace(
    place: str, body: bytes, frames: dict[int, Frame], probe: int, answers: Answers | None = None
) -> RuleEvent | None:
    """Read a trace message; `frames` keeps by trace id what is known of packets. None: it is of no probe."""
    found = attrs(body, 4)
    ident, table, chain = number(found.get(6)), text(found.get(1)), text(found.get(2))
    if 8 in found:
        headers = found[8] + found.get(9, b"")
        frame = _known_by(headers, table, chain, probe, answers)
        if frame is not None:
            frames[ident] = frame
        elif not (ident in frames and _is_same(frames[ident], headers)):
            frames.pop(ident, None)
    kind, known = _KINDS.get(number(found.get(4))), frames.get(ident)
    if kind is None or known is None:
        return None
    code = number(found[16]) if kind == "policy" and 16 in found else number(attrs(found.get(5, b"")).get(1))
    return RuleEvent(
        place,
        body[0],
        table,
        chain,
        kind,
        _VERDICTS.get(code, str(code)),
        known,
        number(found.get(3)),
        number(found.get(21)),
    )


def _known_by(headers: bytes, table: str, chain: str, probe: int, answers: Answers | None) -> Frame | None:
    """Say which packet of the probe has the headers, by them or by the chain of ours that it is in; None for none."""
    if table.startswith(OWN_TABLES) and chain.startswith(_SAYS):
        return outer_frame(headers, chain.removeprefix(_SAYS), probe)
    return parse_frame(bytes(12) + ethertype_of(headers) + headers, answers)


def _is_same(frame: Frame, headers: bytes) -> bool:
    """Tell whether headers may be of a packet that our chain knew: rules translate one of its addresses at most at a time."""
    if not frame.encapsulated and frame.kind != "error":
        return False
    other = outer_frame(headers, frame.kind, frame.number)
    return (
        other is not None
        and other.proto == frame.proto
        and (other.src == frame.src or other.dst == frame.dst)
    )


def ethertype_of(packet: bytes) -> bytes:
    """Return the EtherType of an IP packet."""
    return b"\x86\xdd" if packet[:1] and packet[0] >> 4 == 6 else b"\x08\x00"
