"""Packet sockets in every namespace of a network, and all that they saw."""

from __future__ import annotations

import socket
from collections.abc import Callable
from pathlib import Path

from agents.observers.packets import PacketSockets
from lab import netns
from netviz.core.observe.sighting import Sighting


class Taps(PacketSockets):
    """They keep what they saw."""

    def __init__(self) -> None:
        super().__init__()
        self._sightings: list[Sighting] = []

    def drain(self) -> int:
        """Read what is queued, and tell how many frames of probes there were."""
        found = self.read()
        self._sightings += found
        return len(found)

    def in_order(self) -> list[Sighting]:
        """Return everything by time; what one namespace saw at one instant stays in its order."""
        return sorted(self._sightings, key=lambda sighting: sighting.at_ns)


def open_taps(paths: dict[str, Path]) -> Taps:
    """Watch the namespaces, by their places' names. Raises: OSError."""
    taps = Taps()
    for place, path in paths.items():

        def inside(fn: Callable[[], socket.socket], path: Path = path) -> socket.socket:
            with netns.entered_path(path):
                return fn()

        taps.add(place, inside)
    return taps
