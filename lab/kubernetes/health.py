"""The health-check ports of services whose traffic policy is Local: kube-proxy says there how many endpoints a node has."""

from __future__ import annotations

import json
import selectors
import socket
from contextlib import suppress

_OK, _UNAVAILABLE = "200 OK", "503 Service Unavailable"


class HealthServer:
    """HTTP listeners of one namespace by port; each answers with the local endpoints of its service."""

    def __init__(self, selector: selectors.BaseSelector) -> None:
        self._selector = selector
        self._sockets: dict[str, socket.socket] = {}
        self._services: dict[str, list[str | int]] = {}

    def serve(self, services: dict[str, list[str | int]]) -> None:
        """Listen on exactly these ports: port -> namespace, name, number of local endpoints."""
        self._services = services
        for port in [port for port in self._sockets if port not in services]:
            sock = self._sockets.pop(port)
            self._selector.unregister(sock)
            sock.close()
        for port in services:
            if port not in self._sockets:
                self._sockets[port] = self._open(port)

    def _open(self, port: str) -> socket.socket:
        sock = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setblocking(False)
        sock.bind(("::", int(port)))
        sock.listen(16)
        self._selector.register(sock, selectors.EVENT_READ, lambda: self._accept(port, sock))
        return sock

    def _accept(self, port: str, listener: socket.socket) -> None:
        with suppress(OSError):
            conn, _ = listener.accept()
            conn.setblocking(False)
            self._selector.register(conn, selectors.EVENT_READ, lambda: self._answer(port, conn))

    def _answer(self, port: str, conn: socket.socket) -> None:
        self._selector.unregister(conn)
        with suppress(OSError), conn:
            if conn.recv(4096):
                namespace, name, count = self._services.get(port, ["", "", 0])
                body = json.dumps(
                    {"service": {"namespace": namespace, "name": name}, "localEndpoints": count}
                )
                status = _OK if count else _UNAVAILABLE
                head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
                conn.sendall(f"{head}\r\nConnection: close\r\n\r\n{body}".encode())
