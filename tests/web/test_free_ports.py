"""A port that a test's server is told to take is nobody else's until that server has it."""

from __future__ import annotations

import subprocess
import sys

from lab.stack import ROOT

PORTS = 600
CLASH = f"""
import socket
from lab.stack import free_port

ports = [free_port() for _ in range({PORTS})]
assert len(set(ports)) == {PORTS}, "given twice"
for _ in range(3000):
    with socket.socket() as other:
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        other.bind(("127.0.0.1", 0))
        assert other.getsockname()[1] not in ports, "given to somebody else"
for _ in range(2):
    with socket.create_server(("127.0.0.1", ports[0])) as server, socket.create_connection(("127.0.0.1", ports[0])):
        server.accept()[0].close()
    try:
        socket.create_connection(("127.0.0.1", ports[0])).close()
    except ConnectionRefusedError:
        continue
    raise AssertionError("somebody listens where the server has ended")
"""


def test_a_free_port_is_given_once_and_a_server_takes_it_again_after_a_restart() -> None:
    done = subprocess.run(
        [sys.executable, "-c", CLASH], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
