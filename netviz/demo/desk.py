"""Asks the demo's lab to make and mend faults: one JSON object a line over the Unix socket that `lab.demo` listens on."""

from __future__ import annotations

import json
import os
import socket
from pathlib import Path
from typing import Any

from django.conf import settings

PATIENCE_S = 60.0


class Refused(Exception):
    """The lab doesn't do it; the message is its own sentence."""


class LabGone(Exception):
    """Nobody answers: the lab has ended."""


def call(op: str, **args: str) -> dict[str, Any]:
    """Have the lab do `op` and return what it says: see `lab.faultdesk`. Raises: Refused, LabGone."""
    path = Path(settings.LAB_SOCKET)
    try:
        # By its folder's descriptor: an address in full may be too long for the kernel.
        folder = os.open(path.parent, os.O_PATH | os.O_CLOEXEC)
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
                sock.settimeout(PATIENCE_S)
                sock.connect(f"/proc/self/fd/{folder}/{path.name}")
                sock.sendall(json.dumps({"op": op, **args}).encode() + b"\n")
                with sock.makefile("rb") as lines:
                    line = lines.readline()
        finally:
            os.close(folder)
    except OSError as err:
        raise LabGone(f"the demo's lab doesn't answer: {err.strerror or err}") from err
    if not line.endswith(b"\n"):
        raise LabGone("the demo's lab ended while it was asked")
    answer = json.loads(line)
    if "error" in answer:
        raise Refused(str(answer["error"]))
    result: dict[str, Any] = answer["result"]
    return result
