"""Packet sockets in every namespace of a network."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from agents.observers.packets import PacketSockets
from lab import netns


def open_taps(paths: dict[str, Path]) -> PacketSockets:
    """Watch the namespaces, by their places' names. Raises: OSError."""
    taps = PacketSockets()
    for place, path in paths.items():

        def inside(fn: Callable[[], socket.socket], path: Path = path) -> socket.socket:
            with netns.entered_path(path):
                return fn()

        taps.add(place, inside)
    return taps
