"""A small DNS server for the lab's services: answers from the API's lists, as CoreDNS does.

NAME.NAMESPACE.svc.cluster.local is a service's cluster address (A, AAAA), or all endpoints of a headless
one; POD-1-2-3-4.NAMESPACE.pod.cluster.local isn't known. Names outside cluster.local are refused: the lab
has no other resolver. One datagram or one TCP message is one question.

Source: RFC 1035, section 4.1; https://github.com/kubernetes/dns/blob/master/docs/specification.md
"""

from __future__ import annotations

import ipaddress
import json
import os
import selectors
import socket
import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

PORT = 53
DOMAIN = "svc.cluster.local"
_A, _AAAA, _IN = 1, 28, 1
_NOERROR, _FORMERR, _NXDOMAIN, _REFUSED = 0, 1, 3, 5
_TTL_S = 5
_HEADER = struct.Struct("!HHHHHH")
Json = dict[str, Any]
# What follows the first eight bytes of a question: two counts, and which address kube-dns has.
QUESTION = (
    bytes(4)
    + b"".join(bytes([len(label)]) + label for label in b"kube-dns.kube-system.svc.cluster.local".split(b"."))
    + struct.pack("!BHH", 0, _A, _IN)
)


def question_head() -> bytes:
    """Return the first eight bytes of a question: an identifier of its own, recursion desired, one question."""
    return os.urandom(2) + struct.pack("!HHH", 0x0100, 1, 0)


def is_answer(message: bytes) -> bool:
    """Tell a DNS answer from what the lab's echo says, which is text."""
    return len(message) >= _HEADER.size and bool(message[2] & 0x80)


def answer(question: bytes, objects: Path) -> bytes | None:
    """Answer one message from the lists in a folder; None where it is no question."""
    if len(question) < _HEADER.size:
        return None
    ident, flags, count, *_ = _HEADER.unpack_from(question)
    if flags & 0x8000:
        return None
    try:
        labels, end = _labels(question, _HEADER.size)
        kind, kind_class = struct.unpack_from("!HH", question, end)
    except (IndexError, struct.error, UnicodeDecodeError):
        return _HEADER.pack(ident, 0x8000 | _FORMERR, 0, 0, 0, 0)
    asked = question[_HEADER.size : end + 4]
    code, addresses = _lookup(".".join(labels), objects) if count == 1 else (_FORMERR, [])
    wanted = {_A: 4, _AAAA: 16}.get(kind, 0) if kind_class == _IN else 0
    chosen = [address for address in addresses if len(address) == wanted]
    records = b"".join(
        b"\xc0\x0c" + struct.pack("!HHIH", kind, _IN, _TTL_S, len(address)) + address for address in chosen
    )
    # An answer, authoritative, recursion desired as it was asked.
    head = 0x8400 | flags & 0x0100 | code
    return _HEADER.pack(ident, head, 1, len(chosen), 0, 0) + asked + records


def _labels(message: bytes, at: int) -> tuple[list[str], int]:
    labels = []
    while length := message[at]:
        labels.append(message[at + 1 : at + 1 + length].decode("ascii").lower())
        at += 1 + length
    return labels, at + 1


def _lookup(name: str, objects: Path) -> tuple[int, list[bytes]]:
    """Return a response code and the addresses of a name."""
    if not name.endswith("cluster.local"):
        return _REFUSED, []
    parts = name.removesuffix(DOMAIN).rstrip(".").split(".")
    if not name.endswith(f".{DOMAIN}") or len(parts) != 2:
        return _NXDOMAIN, []
    for service in _items(objects / "services.json"):
        if [service["metadata"]["name"], service["metadata"]["namespace"]] == parts:
            given = [ip for ip in service["spec"]["clusterIPs"] if ip != "None"]
            return _NOERROR, _packed(given or _endpoints(objects, *parts))
    return _NXDOMAIN, []


def _endpoints(objects: Path, name: str, namespace: str) -> list[str]:
    return [
        address
        for one in _items(objects / "endpointslices.json")
        if one["metadata"]["namespace"] == namespace
        and one["metadata"]["labels"]["kubernetes.io/service-name"] == name
        for endpoint in one["endpoints"]
        if endpoint["conditions"]["ready"]
        for address in endpoint["addresses"]
    ]


def _items(path: Path) -> list[Json]:
    found: list[Json] = json.loads(path.read_bytes())["items"]
    return found


def _packed(addresses: list[str]) -> list[bytes]:
    return [ipaddress.ip_address(address).packed for address in addresses]


class DnsServer:
    """Answers on UDP and TCP port 53 of the namespace in which it was opened."""

    def __init__(self, selector: selectors.BaseSelector, objects: Path) -> None:
        self._selector = selector
        self._objects = objects

    def open(self) -> None:
        """Listen, for both address families."""
        udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        tcp = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        for sock in (udp, tcp):
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setblocking(False)
            sock.bind(("::", PORT))
        tcp.listen(16)
        self._watch(udp, lambda: self._datagram(udp))
        self._watch(tcp, lambda: self._accept(tcp))

    def _watch(self, sock: socket.socket, ready: Callable[[], None]) -> None:
        self._selector.register(sock, selectors.EVENT_READ, ready)

    def _datagram(self, udp: socket.socket) -> None:
        with suppress(OSError):
            question, peer = udp.recvfrom(4096)
            if (said := answer(question, self._objects)) is not None:
                udp.sendto(said, peer)

    def _accept(self, listener: socket.socket) -> None:
        with suppress(OSError):
            conn, _ = listener.accept()
            conn.setblocking(False)
            pending = bytearray()
            self._watch(conn, lambda: self._stream(conn, pending))

    def _stream(self, conn: socket.socket, pending: bytearray) -> None:
        try:
            data = conn.recv(4096)
            pending += data
            if data and len(pending) < 2:
                return
            size = int.from_bytes(pending[:2], "big")
            if data and len(pending) < 2 + size:
                return
            if data and (said := answer(bytes(pending[2 : 2 + size]), self._objects)) is not None:
                conn.sendall(len(said).to_bytes(2, "big") + said)
        except BlockingIOError:
            return
        except OSError:
            pass
        self._selector.unregister(conn)
        conn.close()
