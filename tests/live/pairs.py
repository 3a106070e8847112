"""Every pair of pods for real: in small random networks of the oracle, what the check calls broken is what is broken.

    make proof-pairs [ARGS='--networks N --seed FIRST']

An echo request of the usual size goes from each pod to each other's address; it passes if an answer comes back. The check
judges the state that was read before. Pairs of which it says that nobody knows, or that chance decides, are counted apart.
"""

from __future__ import annotations

import argparse
import os
import select
import socket
import struct
import sys
import time
from collections import Counter
from datetime import UTC, datetime
from pathlib import Path

from lab import netns
from lab.randomnet.generate import generate
from netviz.core.check.paths.check import PathsCheck
from netviz.core.check.paths.contract import Ask, arrives_at, families, judge
from netviz.core.check.paths.judge import Simulator
from netviz.core.model.addr import format_ip
from netviz.core.model.ids import NetnsKey
from netviz.core.sim.trace import CERTAIN
from netviz.core.state.node import ClusterState, NetnsState
from tests.live.oracle.build import Built, built
from tests.live.oracle.collect import collect, collect_now

PASSES = {"good": True, "breaks-contract": True, "broken": False, "denied": False}
DOCS = Path(__file__).resolve().parents[2] / "docs/proofs/pairs.md"
WAIT_S = 0.6
ECHO, ECHO_REPLY, ECHO_ID, PAYLOAD = 8, 0, 1, 56


def passes(up: Built, source: NetnsState, addr: bytes) -> bool:
    """Send an echo request from a pod; tells whether it is answered."""
    place = next(place for place in up.network.places if place.name == pod_of(source))
    with netns.entered_path(up.path(place)):
        sock = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    with sock:
        head = struct.pack("!BBHHH", ECHO, 0, 0, ECHO_ID, 1) + bytes(PAYLOAD)
        request = head[:2] + struct.pack("!H", checksum(head)) + head[4:]
        try:
            sock.sendto(request, (format_ip(addr), 0))
        except OSError:
            return False
        return answered(sock)


def answered(sock: socket.socket) -> bool:
    """Wait for the answer to the echo request that a socket has sent."""
    deadline = time.monotonic() + WAIT_S
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([sock], [], [], left)[0]:
            return False
        try:
            data = sock.recv(2048)
        except OSError:
            continue
        kind, _, _, ident, _ = struct.unpack_from("!BBHHH", data, (data[0] & 15) * 4)
        if (kind, ident) == (ECHO_REPLY, ECHO_ID):
            return True
    return False


def checksum(data: bytes) -> int:
    """Sum up an ICMP message (RFC 1071)."""
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF


def pod_of(ns: NetnsState) -> str:
    """Name a pod as its network does."""
    assert ns.netns.pod is not None
    return ns.netns.pod.name


def said(check: PathsCheck, cluster: ClusterState, source: NetnsKey, target: NetnsState, addr: bytes) -> str:
    """Say what the check says of a pair's echo; "" where chance decides, or nobody knows."""
    judged = check.known.get(check.pairs.key_of(source, target.key))
    if judged is None:
        return ""
    found = next((one for one in judged.found if one.ask == f"icmp{len(addr)}"), None)
    if found is None or found.verdict not in PASSES:
        return ""
    ask = Ask(cluster.nodes[source.node].netns[source], target, addr, "icmp")
    traced = Simulator(cluster).trace(ask)
    if traced is None or traced[1].certainty != CERTAIN or not arrives_at(traced[1], target):
        return ""  # an echo doesn't say who answered it
    assert judge(ask, traced[1]) == found.verdict, "the check says otherwise than the pair's own trace"
    return found.verdict


def checked(cluster: ClusterState) -> PathsCheck:
    """Judge a state to the end."""
    check = PathsCheck()
    check.follow(cluster)
    check.finish()
    return check


def compare(seed: int) -> tuple[Counter[str], list[str]]:
    """Build a network and lay what the check says of each pair beside what packets meet.

    Packets leave entries behind, for neighbours and in forwarding tables: where a pair differs, the state is read anew, and
    the pair is judged and sent once more.
    """
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    with built(generate(seed)) as up:
        cluster = collect(up)
        check = checked(cluster)
        pods = [
            ns for node in cluster.nodes.values() for ns in node.netns.values() if ns.netns.pod is not None
        ]
        for source, target in ((one, other) for one in pods for other in pods if one is not other):
            addr = families(target).get(4)
            if addr is None or 4 not in families(source):
                continue
            verdict = said(check, cluster, source.key, target, addr)
            got = passes(up, source, addr) if verdict else False
            if verdict and got != PASSES[verdict]:
                counts["judged again"] += 1
                cluster = collect_now(up)
                check = checked(cluster)
                verdict = said(check, cluster, source.key, target, addr)
                got = passes(up, source, addr) if verdict else False
            counts["undecided" if not verdict else "passes" if got else "broken"] += 1
            if verdict and got != PASSES[verdict]:
                end = "passes" if got else "fails"
                wrong.append(f"{seed}: {pod_of(source)} to {pod_of(target)}: {verdict}, and it {end}")
    return counts, wrong


def main(argv: list[str]) -> int:
    """Compare many networks."""
    parser = argparse.ArgumentParser(prog="python -m tests.live.pairs")
    parser.add_argument("--networks", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, default=DOCS)
    options = parser.parse_args(argv)
    total: Counter[str] = Counter()
    wrong: list[str] = []
    for seed in range(options.seed, options.seed + options.networks):
        counts, found = compare(seed)
        total += counts
        wrong += found
        for line in found:
            print(line, flush=True)
    lines = [
        f"{options.networks} networks: "
        + ", ".join(f"{total[k]} {k}" for k in ("passes", "broken", "undecided", "judged again"))
    ]
    lines.append(f"{len(wrong)} pairs judged otherwise than they are")
    print("\n".join(lines))
    when = f"{datetime.now(UTC):%Y-%m-%d}, Linux {os.uname().release}"
    text = (
        "# Every pair for real\n\n"
        + f"{when}, from seed {options.seed}.\n\n"
        + "\n".join(f"- {x}" for x in (*lines, *wrong))
    )
    options.report.write_text(text + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
