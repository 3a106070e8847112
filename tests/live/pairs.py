"""Every pair of pods for real: in small random networks of the oracle, what the check calls broken is what is broken.

    make proof-pairs [ARGS='--networks N --seed FIRST --seconds S']

What the check asks of a pair is sent: an echo request of the usual size from each pod to each other's address, and a
connection to the lowest port on which that listens, over IPv4 and over IPv6. A flow passes if its answer comes back. The check
judges the state that was read before. Said of which it says that nobody knows, or that chance decides, are counted apart;
of a flow that is broken the check asks the pair nothing more, so nothing more is sent.

What came of each network is kept in a file (`--kept`), and the next run goes on after it: so a machine that isn't free for
an hour can do it in parts. The report is of all that is kept.
"""

from __future__ import annotations

import argparse
import json
import os
import socket
import struct
import sys
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from lab import netns
from lab.randomnet.generate import generate
from netviz.core.check.paths.check import PathsCheck
from netviz.core.check.paths.contract import Demand, arrives_at, between, judge
from netviz.core.check.paths.judge import Simulator
from netviz.core.model.addr import format_ip
from netviz.core.model.ids import NetnsKey
from netviz.core.sim.outcome import BREAKS, GOOD, branch_outcome
from netviz.core.sim.trace import UNCERTAIN, Flow
from netviz.core.state.node import ClusterState, NetnsState
from tests.live.oracle.build import Built, built
from tests.live.oracle.collect import collect, collect_now
from tests.live.oracle.send import Session

PASSES = {"good": True, "breaks-contract": True, "broken": False, "denied": False}
DOCS = Path(__file__).resolve().parents[2] / "docs/proofs/pairs.md"
END = {"": "undecided"} | {verdict: "passes" if so else "broken" for verdict, so in PASSES.items()}
TWOFOLD = "twofold"
# Longer than the kernel looks for a neighbour in these networks.
WAIT_S = 0.4
# A busy machine answers late, and what is learned from one try decides the next.
AGAIN = 3
# An echo request and its answer of each IP version: protocol, both types.
ECHOES = {4: (socket.IPPROTO_ICMP, 8, 0), 16: (socket.IPPROTO_ICMPV6, 128, 129)}
PAYLOAD = 56
ASKED = ("icmp", "tcp")


class Said(msgspec.Struct, frozen=True):
    """A flow that the check asks of a pair, and the verdict.

    "": chance decides, or nobody knows; TWOFOLD: the pair's class is judged otherwise than its own trace.
    """

    demand: Demand
    flow: Flow
    verdict: str

    @property
    def name(self) -> str:
        """Whose flow it is, for a report."""
        assert self.demand.target is not None
        return f"{pod_of(self.demand.source)} to {pod_of(self.demand.target)}, {named(self.demand)}"


def passes(up: Built, one: Said) -> bool:
    """Send a flow's first packet from its pod; tells whether it is answered."""
    place = next(place for place in up.network.places if place.name == pod_of(one.demand.source))
    family = socket.AF_INET6 if len(one.flow.dst) == 16 else socket.AF_INET
    tcp = one.demand.proto == "tcp"
    kind, proto = (socket.SOCK_STREAM, 0) if tcp else (socket.SOCK_RAW, ECHOES[len(one.flow.dst)][0])
    with netns.entered_path(up.path(place)):
        sock = socket.socket(family, kind, proto)
    with sock:
        sock.settimeout(WAIT_S)
        try:
            return connects(sock, one.flow) if tcp else answers(sock, one.flow)
        except OSError:
            return False


def connects(sock: socket.socket, flow: Flow) -> bool:
    """Open a connection, and break it off. Raises: OSError where it can't be opened."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", flow.sport))
    sock.connect((format_ip(flow.dst), flow.dport))
    return True


def answers(sock: socket.socket, flow: Flow) -> bool:
    """Send an echo request and wait for its answer. Raises: OSError where there is none."""
    _, request, reply = ECHOES[len(flow.dst)]
    head = struct.pack("!BBHHH", request, 0, 0, flow.sport, 1) + bytes(PAYLOAD)
    # Of ICMPv6 the kernel makes the checksum itself.
    sock.sendto(head[:2] + struct.pack("!H", checksum(head)) + head[4:], (format_ip(flow.dst), 0))
    deadline = time.monotonic() + WAIT_S
    while time.monotonic() < deadline:
        data = sock.recv(2048)
        # A raw socket of IPv4 hands out the IP header, one of IPv6 doesn't.
        start = 0 if len(flow.dst) == 16 else (data[0] & 15) * 4
        kind, _, _, ident, _ = struct.unpack_from("!BBHHH", data, start)
        if (kind, ident) == (reply, flow.sport):
            return True
    return False


def checksum(data: bytes) -> int:
    """Sum up an ICMP message (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return int(~(total + (total >> 16)) & 0xFFFF)


def pod_of(ns: NetnsState) -> str:
    """Name a pod as its network does."""
    assert ns.netns.pod is not None
    return ns.netns.pod.name


class Judged:
    """A state that is judged to the end."""

    def __init__(self, cluster: ClusterState) -> None:
        self.pods = {
            ns.key: ns for node in cluster.nodes.values() for ns in node.netns.values() if ns.netns.pod
        }
        self._check = PathsCheck()
        self._check.follow(cluster)
        self._check.finish()
        self._simulator = Simulator(cluster)

    def said(self, ends: tuple[NetnsKey, NetnsKey]) -> Iterator[Said]:
        """Say what the check says of each flow that it asks of a pair."""
        target = self.pods[ends[1]]
        judged = self._check.known.get(self._check.pairs.key_of(*ends))
        verdicts = {one.kind: one.verdict for one in judged.found} if judged is not None else {}
        for demand in between(self.pods[ends[0]], target):
            verdict = verdicts.get(f"{demand.proto}{len(demand.addr)}")
            if (
                demand.proto not in ASKED
                or verdict is None
                or (traced := self._simulator.trace(demand)) is None
            ):
                continue
            flow, trace = traced
            fates = {branch_outcome(trace, branch) in (GOOD, BREAKS) for branch in trace.branches}
            # An answer doesn't say whose it is.
            certain = trace.certainty != UNCERTAIN and len(fates) == 1 and arrives_at(trace, target)
            if certain and judge(demand, trace) != verdict:
                yield Said(demand, flow, TWOFOLD)
            else:
                yield Said(demand, flow, verdict if certain and verdict in PASSES else "")


def named(demand: Demand) -> str:
    """Name what is asked: "icmp IPv4"."""
    return f"{demand.proto} {'IPv6' if len(demand.addr) == 16 else 'IPv4'}"


def compare(seed: int) -> tuple[Counter[str], list[str]]:
    """Build a network and lay what the check says of each pair's flows beside what packets meet.

    Packets leave entries behind, for neighbours, in forwarding tables and of connections: where a flow differs, the state
    is read anew, and its pair is judged and its flows are sent again, a few times at most.
    """
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    network = msgspec.structs.replace(generate(seed), probes=[])
    with built(network) as up, closing(Session(up)) as session:
        session.prepare()
        now = Judged(collect(up))
        for ends in [(one, other) for one in now.pods for other in now.pods if one != other]:
            counts["pairs"] += 1
            sent = [(one, goes_as_said(up, one)) for one in now.said(ends)]
            for _ in range(AGAIN):
                if all(right for _, right in sent):
                    break
                counts["judged again"] += 1
                now = Judged(collect_now(up))
                sent = [(one, goes_as_said(up, one)) for one in now.said(ends)]
            for one, right in sent:
                if right:
                    counts[f"{named(one.demand)} {END[one.verdict]}"] += 1
                else:
                    wrong.append(f"{seed}: {one.name}: {one.verdict}, and it isn't")
    return counts, wrong


def goes_as_said(up: Built, one: Said) -> bool:
    """Send a flow of which something is said, and tell whether that is so."""
    if one.verdict == TWOFOLD:
        return False
    return not one.verdict or passes(up, one) is PASSES[one.verdict]


def main(argv: list[str]) -> int:
    """Compare many networks."""
    parser = argparse.ArgumentParser(prog="python -m tests.live.pairs")
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="networks at once")
    parser.add_argument(
        "--seconds", type=float, default=float("inf"), help="begin no other network after these"
    )
    parser.add_argument("--kept", type=Path, help="what came of networks before; more is added")
    parser.add_argument("--report", type=Path, default=DOCS)
    options = parser.parse_args(argv)
    kept: dict[int, tuple[Counter[str], list[str]]] = {}
    if options.kept is not None and options.kept.exists():
        for seed, counts, found in map(json.loads, options.kept.read_text().splitlines()):
            kept[seed] = (Counter(counts), found)
    began_s = time.monotonic()
    left = [seed for seed in range(options.seed, options.seed + options.networks) if seed not in kept]
    with ProcessPoolExecutor(options.jobs) as pool:
        while left and time.monotonic() - began_s < options.seconds:
            some, left = left[: options.jobs], left[options.jobs :]
            for seed, (counts, found) in zip(some, pool.map(compare, some), strict=True):
                kept[seed] = (counts, found)
                print(f"{seed}: {dict(counts)}", *found, sep="\n", file=sys.stderr, flush=True)
                if options.kept is not None:
                    with options.kept.open("a") as file:
                        print(json.dumps([seed, counts, found]), file=file)
    total: Counter[str] = Counter()
    for counts, _ in kept.values():
        total += counts
    wrong = [line for seed in sorted(kept) for line in kept[seed][1]]
    text = report(options.seed, len(kept), total, wrong)
    print(text)
    options.report.write_text(text)
    return 1 if wrong else 0


def report(seed: int, networks: int, total: Counter[str], wrong: list[str]) -> str:
    """Write what many networks came to."""
    lines = [
        "# Every pair for real",
        "",
        f"Written by `make proof-pairs` on {datetime.now(UTC):%Y-%m-%d}, Linux {os.uname().release}: {networks} small random"
        f" networks of the oracle, from seed {seed}.",
        "Of each pair of pods what the check asks is sent for real, and laid beside what the check says of it. Of a pair with a"
        " broken flow the check asks no more. *Undecided*: chance decides, nobody knows, or another pod may answer.",
        "",
        "| flow | passes, as said | broken, as said | undecided |",
        "| --- | --- | --- | --- |",
    ]
    for what in (f"{proto} {family}" for proto in ASKED for family in ("IPv4", "IPv6")):
        cells = (total[f"{what} {end}"] for end in ("passes", "broken", "undecided"))
        lines.append(
            f"| {what.replace('icmp', 'echo').replace('tcp', 'TCP')} | " + " | ".join(map(str, cells)) + " |"
        )
    lines += [
        "",
        f"- {total['pairs']} pairs of pods.",
        f"- {total['judged again']} pairs were judged and sent again, after the first packets had left entries behind.",
        f"- {len(wrong)} flows are otherwise than the check says.",
        *(f"- {line}" for line in wrong),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
