"""The pods' listeners: TCP and UDP servers that tell a client which source address they saw.

TCP: on connect the line "ADDRESS PORT\\n", then every byte back until the client is done.
UDP: one datagram "ADDRESS PORT LENGTH\\n" and the first bytes of what came.
One server holds the sockets of one namespace or of many: sockets stay in the one they were opened in.
"""

from __future__ import annotations

import selectors
import socket
from collections.abc import Callable
from contextlib import suppress

PORT = 8080
_ECHOED_BYTES = 64
_BUFFER_BYTES = 262144


def plain_address(address: str) -> str:
    """Strip what a dual-stack socket adds: `::ffff:10.0.0.1` is 10.0.0.1; a zone index is dropped."""
    return address.removeprefix("::ffff:").partition("%")[0] if "." in address else address.partition("%")[0]


class EchoServer:
    """Listening sockets by owner name, served from a selector that the caller runs."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._sockets: dict[str, set[socket.socket]] = {}

    def open(self, owner: str, address: str = "::") -> None:
        """Listen on TCP and UDP port 8080 in the calling thread's namespace.

        An IPv4 address is given as IPv6 writes it, ::ffff:127.0.0.1; "::" is all of both families.
        """
        tcp = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        udp = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM)
        held = self._sockets.setdefault(owner, set())
        held |= {tcp, udp}
        for sock in (tcp, udp):
            sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.setblocking(False)
            sock.bind((address, PORT))
        tcp.listen(128)
        self._watch(tcp, lambda: self._accept(owner, tcp))
        self._watch(udp, lambda: self._answer(udp))

    def close(self, owner: str) -> None:
        """Close an owner's listeners and connections."""
        for sock in self._sockets.pop(owner, set()):
            with suppress(KeyError):
                self._selector.unregister(sock)
            sock.close()

    def _watch(self, sock: socket.socket, ready: Callable[[], None]) -> None:
        self._selector.register(sock, selectors.EVENT_READ, ready)

    def _accept(self, owner: str, listener: socket.socket) -> None:
        try:
            conn, peer = listener.accept()
        except OSError:
            return
        conn.setblocking(False)
        self._sockets[owner].add(conn)
        pending = bytearray(f"{plain_address(peer[0])} {peer[1]}\n".encode())
        self._selector.register(conn, selectors.EVENT_WRITE, lambda: self._echo(owner, conn, pending))

    def _echo(self, owner: str, conn: socket.socket, pending: bytearray) -> None:
        """Write what is pending; when nothing is, read. A connection is watched for the one or the other."""
        key = self._selector.get_key(conn)
        try:
            if not pending:
                pending += conn.recv(_BUFFER_BYTES)
                if not pending:
                    raise ConnectionResetError
            del pending[: conn.send(pending)]
        except BlockingIOError:
            pass
        except OSError:
            self._selector.unregister(conn)
            self._sockets[owner].discard(conn)
            conn.close()
            return
        wanted = selectors.EVENT_WRITE if pending else selectors.EVENT_READ
        if key.events != wanted:
            self._selector.modify(conn, wanted, key.data)

    def _answer(self, udp: socket.socket) -> None:
        with suppress(OSError):
            data, peer = udp.recvfrom(65536)
            udp.sendto(
                f"{plain_address(peer[0])} {peer[1]} {len(data)}\n".encode() + data[:_ECHOED_BYTES], peer
            )


def serve_forever(selector: selectors.BaseSelector) -> None:
    """Run the callbacks of whatever is ready, for ever."""
    while True:
        for key, _ in selector.select():
            key.data()
