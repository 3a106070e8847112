"""UDP flows in conntrack: begun by a real datagram, kept, and forgotten by the program `conntrack`."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import NamedTuple

from lab import netns, xtables

_KEPT_S = 3600
_PATIENCE_S = 10.0


class Flow(NamedTuple):
    """A UDP flow as its sender sees it."""

    src: str
    sport: int
    dst: str
    dport: int


def begin(node: Path, source: Path, flow: Flow) -> None:
    """Send a flow's first datagram from `source`, and keep its entry on the node for an hour.

    The kernel keeps it for nf_conntrack_udp_timeout (30 s) after a further datagram. Raises: ProgramError
    where there is no such entry.
    """
    family = socket.AF_INET6 if ":" in flow.dst else socket.AF_INET
    with netns.entered_path(source), socket.socket(family, socket.SOCK_DGRAM) as sock:
        sock.bind((flow.src, flow.sport))
        sock.sendto(b"\0", (flow.dst, flow.dport))
    patience = time.monotonic() + _PATIENCE_S
    while True:
        try:
            xtables.run(node, _command("-U", flow, "--timeout", str(_KEPT_S)))
            return
        except xtables.ProgramError:
            if time.monotonic() > patience:
                raise
            time.sleep(0.05)


def forget(node: Path, flow: Flow) -> None:
    """Delete a flow's entry if there is one. Raises: ProgramError."""
    # `-D` fails when nothing is deleted; `-L` says whether something is to be.
    if xtables.run(node, _command("-L", flow)).strip():
        xtables.run(node, _command("-D", flow))


def _command(action: str, flow: Flow, *more: str) -> list[str]:
    family = "ipv6" if ":" in flow.dst else "ipv4"
    ends = [
        "--orig-src",
        flow.src,
        "--orig-dst",
        flow.dst,
        "--sport",
        str(flow.sport),
        "--dport",
        str(flow.dport),
    ]
    return ["conntrack", action, "-f", family, "-p", "udp", *ends, *more]
