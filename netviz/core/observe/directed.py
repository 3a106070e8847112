"""Which way a datagram goes that has the probe's cookie: an echo sends it back as it came.

On any one link an answer has the addresses and ports of the datagram, the other way round. So whichever of both was seen
there first is the datagram.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from netviz.core.observe.frame import Frame
from netviz.core.observe.sighting import RuleEvent, Sighting
from netviz.core.sim.packet import IPPROTO_UDP

_Tuple = tuple[str, int, str, int]


def directed(
    sightings: Sequence[Sighting], rules: Sequence[RuleEvent]
) -> tuple[list[Sighting], list[RuleEvent]]:
    """Call answers that repeat the probe's own payload answers. `sightings` are in the order of time."""
    sent: set[_Tuple] = set()
    answered: set[_Tuple] = set()
    for one in sightings:
        if _may_be_echo(one.frame) and _tuple(one.frame) not in answered:
            sent.add(_tuple(one.frame))
            answered.add(_reversed(one.frame))
    seen = [msgspec.structs.replace(one, frame=_as_answer(one.frame, answered, sent)) for one in sightings]
    return seen, [msgspec.structs.replace(one, frame=_as_answer(one.frame, answered, sent)) for one in rules]


def _may_be_echo(frame: Frame) -> bool:
    return frame.proto == IPPROTO_UDP and frame.kind == "forward"


def _as_answer(frame: Frame, answered: set[_Tuple], sent: set[_Tuple]) -> Frame:
    tuple_ = _tuple(frame)
    if _may_be_echo(frame) and tuple_ in answered and tuple_ not in sent:
        return msgspec.structs.replace(frame, kind="reply")
    return frame


def _tuple(frame: Frame) -> _Tuple:
    return frame.src, frame.sport, frame.dst, frame.dport


def _reversed(frame: Frame) -> _Tuple:
    return frame.dst, frame.dport, frame.src, frame.sport
