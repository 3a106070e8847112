"""The way of a packet in a random network: the devices that a prediction says it crosses, laid beside where it was seen."""

from __future__ import annotations

import os
from itertools import pairwise

from lab.randomnet.model import FABRIC
from netviz.core.model.ids import NetnsKey
from netviz.core.observe.align import first_sending, lay_beside
from netviz.core.observe.crossing import Copies, Predicted, crossings
from netviz.core.observe.sighting import Crossing, Sighting
from netviz.core.sim.trace import Path, Step
from tests.live.oracle.build import Built
from tests.live.oracle.send import Result


class Places:
    """Which namespace of the description a namespace of the state is."""

    def __init__(self, by_ino: dict[tuple[str, int], str]) -> None:
        self.by_ino = by_ino

    @classmethod
    def of_built(cls, up: Built) -> Places:
        """Read where the namespaces of a network that is up are."""
        return cls(
            {
                (place.node or place.name, os.stat(up.path(place)).st_ino): place.name
                for place in up.network.places
            }
        )

    def of(self, netns: NetnsKey) -> str:
        """Name the place."""
        return self.by_ino.get((netns.node, netns.ino), "?")


def told_crossings(path: Path, places: Places) -> list[Predicted]:
    """List the devices crossed, of those that a trace speaks of."""
    return [one for one in crossings(path, places.of) if _is_told(one.crossing)]


def _is_told(crossing: Crossing) -> bool:
    """Tell whether a trace says that a device is crossed; of a bridge's own, it does of what goes up to it alone."""
    away = crossing.place == FABRIC or crossing.dev == "lo"
    return not away and not (crossing.dev.startswith("br") and crossing.out)


def observed(result: Result, kinds: tuple[str, ...]) -> list[Sighting]:
    """Return what was seen of a probe, its answer or errors about it, without retransmissions."""
    return first_sending([s for s in result.sightings if s.frame.kind in kinds and _is_told(s.crossing)])


def last_step(path: Path) -> Step:
    """Return a path's last step."""
    return path.hops[-1].steps[-1]


def end_place(path: Path, places: Places) -> str:
    """Name the place where a path ends."""
    return places.of(path.hops[-1].netns)


def way_differs(
    path: Path, seen: list[Sighting], places: Places, mixed: Copies | None = None, repeated: bool = False
) -> str:
    """Compare the devices crossed and the headers at each; "" when they agree."""
    rows = lay_beside(path, seen, places.of, _is_told, mixed, repeated).rows
    for row, following in pairwise((*rows, None)):
        assert row is not None
        if row.predicted is None:
            assert row.sighting is not None
            return f"goes on to {row.sighting.crossing}, which isn't predicted"
        if row.sighting is None:
            if following is not None and following.predicted is None and following.sighting is not None:
                return f"crosses {following.sighting.crossing}, predicted {row.predicted.crossing}"
            return f"not seen at {row.predicted.crossing}, as predicted"
        if row.why:
            return f"at {row.sighting.crossing}: {row.why}"
    return ""
