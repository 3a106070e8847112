"""Netlink messages: make requests, receive dumps whole, split attributes.

`dump` sends one request and reads until NLMSG_DONE. When the kernel says that the objects changed
meanwhile (NLM_F_DUMP_INTR) the dump may miss or repeat some, so it is made again.

Source: include/uapi/linux/netlink.h, net/netlink/af_netlink.c (Linux 6.18).
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from itertools import count
from typing import NamedTuple

NETLINK_ROUTE = 0

NLMSG_NOOP, NLMSG_ERROR, NLMSG_DONE, NLMSG_OVERRUN = 1, 2, 3, 4
NLMSG_MIN_TYPE = 16  # below are control messages
NLM_F_REQUEST = 0x1
NLM_F_ACK = 0x4
NLM_F_DUMP_INTR = 0x10
NLM_F_REPLACE = 0x100
NLM_F_APPEND = 0x800
NLM_F_DUMP = 0x300
NLA_TYPE_MASK = 0x3FFF

DUMP_ATTEMPTS = 8
RECV_BYTES = 1 << 17
_TRUNCATED = int(socket.MSG_TRUNC)  # the enumeration's own `&` takes as long as all the rest of `receive`

HEADER = struct.Struct("=IHHII")
_ATTR = struct.Struct("=HH")
_ERRNO = struct.Struct("=i")
U8 = struct.Struct("=B")
U16 = struct.Struct("=H")
U32 = struct.Struct("=I")
S32 = struct.Struct("=i")
BE16 = struct.Struct("!H")
BE32 = struct.Struct("!I")
BE64 = struct.Struct("!Q")

_sequence = count(1)


class Message(NamedTuple):
    """One netlink message: its type, flags and everything after the header."""

    type: int
    flags: int
    body: bytes


class BadMessage(OSError, ValueError):
    """The bytes are not well-formed netlink (cut short, or a length that cannot be)."""

    def __init__(self, why: str) -> None:
        super().__init__(errno.EBADMSG, why)


class DumpInterrupted(OSError):
    """The objects kept changing during every attempt to dump them."""


def attr(nla_type: int, payload: bytes) -> bytes:
    """Encode one attribute, padded to 4 bytes."""
    length = 4 + len(payload)
    return _ATTR.pack(length, nla_type) + payload + bytes(-length % 4)


def attrs(data: bytes, offset: int = 0) -> dict[int, bytes]:
    """Split attributes from `offset` to the end: type (without flag bits) -> payload.

    Of an attribute that repeats, the last counts; use `attr_list` where repetition has a meaning.
    Raises: BadMessage.
    """
    out: dict[int, bytes] = {}
    end = len(data)
    unpack = _ATTR.unpack_from
    while end - offset >= 4:
        length, nla_type = unpack(data, offset)
        stop = offset + length
        if length < 4 or stop > end:
            raise BadMessage(f"attribute of {length} bytes with {end - offset} left")
        out[nla_type & 0x3FFF] = data[offset + 4 : stop]
        offset += (length + 3) & ~3
    return out


def attr_list(data: bytes, offset: int = 0) -> list[tuple[int, bytes]]:
    """Split attributes like `attrs`, keeping order and repetition. Raises: BadMessage."""
    out: list[tuple[int, bytes]] = []
    end = len(data)
    while end - offset >= 4:
        length, nla_type = _ATTR.unpack_from(data, offset)
        if length < 4 or offset + length > end:
            raise BadMessage(f"attribute of {length} bytes with {end - offset} left")
        out.append((nla_type & NLA_TYPE_MASK, data[offset + 4 : offset + length]))
        offset += (length + 3) & ~3
    return out


def u8(payload: bytes | None, default: int = 0) -> int:
    """Read an attribute's u8, or the default where it is absent."""
    return payload[0] if payload else default


def u16(payload: bytes | None, default: int = 0) -> int:
    """Read an attribute's u16 in host order."""
    return U16.unpack_from(payload)[0] if payload else default


def u32(payload: bytes | None, default: int = 0) -> int:
    """Read an attribute's u32 in host order."""
    return U32.unpack_from(payload)[0] if payload else default


def s32(payload: bytes | None, default: int = 0) -> int:
    """Read an attribute's s32 in host order."""
    return S32.unpack_from(payload)[0] if payload else default


def be16(payload: bytes | None, default: int = 0) -> int:
    """Read an attribute's u16 in network order."""
    return BE16.unpack_from(payload)[0] if payload else default


def text(payload: bytes | None) -> str:
    """Read an attribute's NUL-terminated string; bytes that are not UTF-8 are kept by surrogates' names."""
    return payload.split(b"\0", 1)[0].decode("utf-8", "backslashreplace") if payload else ""


def parse_messages(data: bytes) -> Iterator[tuple[int, int, int, bytes]]:
    """Split what one recv returned into (type, flags, seq, body). Raises: BadMessage."""
    offset, end = 0, len(data)
    while end - offset >= HEADER.size:
        length, msg_type, flags, seq, _pid = HEADER.unpack_from(data, offset)
        if length < HEADER.size or offset + length > end:
            raise BadMessage(f"message of {length} bytes with {end - offset} left")
        yield msg_type, flags, seq, data[offset + HEADER.size : offset + length]
        offset += (length + 3) & ~3
    if offset < end:
        raise BadMessage(f"{end - offset} bytes are no message")


def receive(sock: socket.socket) -> bytes:
    """Receive one datagram whole. Raises: BadMessage when it was cut; OSError (ENOBUFS: events were lost)."""
    data, _anc, flags, _addr = sock.recvmsg(RECV_BYTES)
    if flags & _TRUNCATED:
        raise BadMessage(f"a datagram over {RECV_BYTES} bytes was cut")
    return data


def received(sock: socket.socket, lost: Callable[[], None]) -> Iterator[tuple[int, int, int, bytes]]:
    """Yield (type, flags, seq, body) of what waits on a socket that doesn't block; `lost` is called where the kernel had no room for some."""
    with contextlib.suppress(BlockingIOError):
        while True:
            try:
                data = receive(sock)
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                lost()
                continue
            yield from parse_messages(data)


def drain(sock: socket.socket) -> bool:
    """Throw away the events that wait; tell whether there were any, or some were lost."""
    any_seen = False
    while True:
        try:
            sock.recv(1)
        except BlockingIOError:
            return any_seen
        except OSError as err:
            if err.errno != errno.ENOBUFS:
                raise
        any_seen = True


def receive_answer(sock: socket.socket) -> bytes:
    """Receive a datagram that was asked for. Raises: TimeoutError; BadMessage; OSError."""
    try:
        return receive(sock)
    except BlockingIOError:
        raise TimeoutError(errno.ETIMEDOUT, "the kernel gave no answer") from None


def raise_error(body: bytes) -> None:
    """Raise what an NLMSG_ERROR or NLMSG_DONE body says, if it says an error. Raises: OSError."""
    code = -_ERRNO.unpack_from(body)[0] if len(body) >= 4 else 0
    if code:
        raise OSError(code, os.strerror(code))


def stream(sock: socket.socket, msg_type: int, body: bytes) -> Iterator[tuple[int, int, bytes]]:
    """Dump objects, giving (type, flags, body) of each as it comes, so that a large dump is never held whole.

    It is the caller's to start again when the objects changed meanwhile: DumpInterrupted is raised
    then, at the end. The iterator must be run to its end before the socket is used again.
    Raises: OSError (the kernel's error, a timeout), BadMessage.
    """
    seq = next(_sequence) & 0xFFFFFFFF
    flags = NLM_F_REQUEST | NLM_F_DUMP
    sock.send(HEADER.pack(HEADER.size + len(body), msg_type, flags, seq, 0) + body)
    interrupted = 0
    while True:
        for kind, flags, msg_seq, message in parse_messages(receive_answer(sock)):
            if msg_seq != seq:
                continue
            interrupted |= flags & NLM_F_DUMP_INTR
            if kind >= NLMSG_MIN_TYPE:
                yield kind, flags, message
            elif kind in (NLMSG_DONE, NLMSG_ERROR):
                raise_error(message)
                if interrupted:
                    raise DumpInterrupted(errno.EAGAIN, "the objects changed during the dump")
                return
            elif kind == NLMSG_OVERRUN:
                raise OSError(errno.ENOBUFS, os.strerror(errno.ENOBUFS))


def dump(sock: socket.socket, msg_type: int, body: bytes) -> list[Message]:
    """Dump objects, again if they changed meanwhile.

    Raises: OSError (the kernel's error, a timeout); DumpInterrupted; BadMessage.
    """
    for _ in range(DUMP_ATTEMPTS):
        with contextlib.suppress(DumpInterrupted):
            return [Message(*one) for one in stream(sock, msg_type, body)]
    raise DumpInterrupted(errno.EAGAIN, f"objects kept changing during {DUMP_ATTEMPTS} dumps")


def request(sock: socket.socket, msg_type: int, body: bytes) -> Message:
    """Ask for one object and return it. Raises: OSError."""
    seq = next(_sequence) & 0xFFFFFFFF
    sock.send(HEADER.pack(HEADER.size + len(body), msg_type, NLM_F_REQUEST, seq, 0) + body)
    while True:
        for kind, flags, msg_seq, msg_body in parse_messages(receive_answer(sock)):
            if msg_seq != seq:
                continue
            if kind < NLMSG_MIN_TYPE:
                raise_error(msg_body)
                raise OSError(errno.ENOMSG, os.strerror(errno.ENOMSG))
            return Message(kind, flags, msg_body)
