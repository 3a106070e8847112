"""Kept cases frozen: the state, what the kernel did with the probe, and what was rightly predicted.

The live run (cases.py) builds a kept network and sends its last probe. Unless the prediction was wrong, all that the
judge reads is written to tests/data/frozen/NAME.case; from then on the same judge decides without a kernel, in
milliseconds. Besides, the prediction itself is kept, so that one which changes but stays possible is noticed too:
freeze the case again when the change is meant (`make freeze`).
"""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path

import msgspec

from lab.randomnet.model import Network
from netviz.core.model.addr import format_mac
from netviz.core.model.netfilter import encode_body
from netviz.core.observe.crossing import predicted_headers
from netviz.core.sim import trace as sim
from netviz.core.state.delta import apply, diff
from netviz.core.state.node import ClusterState, NodeState
from netviz.core.wire.nvz import Capture, join_captures
from tests.live.oracle.compare import Comparison
from tests.live.oracle.path import Places, told_crossings
from tests.live.oracle.run import Observed, judged, predicted_text
from tests.live.oracle.send import Result

DIRECTORY = Path(__file__).resolve().parents[2] / "data" / "frozen"


class Course(msgspec.Struct, frozen=True):
    """A predicted path: how it ends, and each device that it crosses, with the packet's headers there."""

    end: str
    crossings: tuple[str, ...]


class Expected(msgspec.Struct, frozen=True):
    """What was predicted when the kernel agreed. `courses` has the forward path and the answer's of each branch."""

    verdict: str
    drop_reason: str
    summary: str
    courses: tuple[tuple[Course, Course | None], ...]


class Frozen(msgspec.Struct):
    """A case as it was. `places` maps node and inode to the name of a namespace, `network` is its digest."""

    network: str
    before: tuple[Capture, ...]
    result: Result
    places: tuple[tuple[str, int, str], ...]
    after: tuple[Capture, ...]
    expected: Expected

    def observed(self) -> Observed:
        """Make of it again what the judge reads."""
        places = Places({(node, ino): name for node, ino, name in self.places})
        after = _joined(self.after) if self.after else None
        return Observed(_joined(self.before), [self.result], places, after=after)


def path_of(name: str) -> Path:
    """Return the file of a frozen case."""
    return DIRECTORY / f"{name}.case"


def digest(network: Network) -> str:
    """Tell one network from another."""
    return hashlib.blake2b(msgspec.msgpack.encode(network), digest_size=16).hexdigest()


def freeze(network: Network, observed: Observed) -> Frozen:
    """Keep what the one probe sent was judged by, and what is predicted for it."""
    (comparison,) = judged(observed)
    places = tuple((node, ino, name) for (node, ino), name in sorted(observed.places.by_ino.items()))
    after = _captures(observed.after) if observed.after is not None else ()
    return Frozen(
        digest(network),
        _captures(observed.state),
        observed.results[0],
        places,
        after,
        expected_of(comparison, observed.places),
    )


def expected_of(comparison: Comparison, places: Places) -> Expected:
    """Write a prediction down as far as it is compared with the kernel."""
    branches = comparison.trace.branches if comparison.trace is not None else ()
    return Expected(
        comparison.verdict,
        comparison.drop_reason,
        predicted_text(comparison.trace),
        tuple(
            (
                _course(branch.forward, places),
                _course(branch.reply, places) if branch.reply is not None else None,
            )
            for branch in branches
        ),
    )


def _course(path: sim.Path, places: Places) -> Course:
    lines = []
    for one in told_crossings(path, places):
        packet = one.packet
        src, sport, dst, dport, ttl = predicted_headers(packet)
        macs = [format_mac(mac) if mac else "-" for mac in (packet.smac, packet.dmac)]
        lines.append(f"{one.crossing} {src}:{sport} > {dst}:{dport} ttl {ttl} {macs[0]} > {macs[1]}")
    return Course(f"{path.disposition.value} {path.reason}".strip(), tuple(lines))


def _captures(cluster: ClusterState) -> tuple[Capture, ...]:
    """Put each node's state down as a difference from nothing, all bodies in the first."""
    bodies = tuple(msgspec.Raw(encode_body(body)) for _, body in sorted(cluster.bodies.items()))
    captures = [Capture(name, 0.0, diff(NodeState(name), node)) for name, node in cluster.nodes.items()]
    captures[0] = msgspec.structs.replace(captures[0], bodies=bodies)
    return tuple(captures)


def _joined(captures: tuple[Capture, ...]) -> ClusterState:
    return join_captures((capture, apply(NodeState(capture.node), capture.delta)) for capture in captures)


def write_frozen(name: str, frozen: Frozen) -> None:
    """Write a frozen case."""
    DIRECTORY.mkdir(parents=True, exist_ok=True)
    path_of(name).write_bytes(zlib.compress(msgspec.msgpack.encode(frozen), 9))


def read_frozen(name: str) -> Frozen:
    """Read a frozen case. Raises: FileNotFoundError."""
    return msgspec.msgpack.decode(zlib.decompress(path_of(name).read_bytes()), type=Frozen)
