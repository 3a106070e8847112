"""Every pair of pods for real: in small random networks of the oracle, what the check calls broken is what is broken.

    make proof-pairs [ARGS='--networks N --seed FIRST']

What the check asks of a pair is sent: an echo request of the usual size from each pod to each other's address, and a
connection to the lowest port on which that listens, over IPv4 and over IPv6. A flow passes if its answer comes back. The check
judges the state that was read before. Said of which it says that nobody knows, or that chance decides, are counted apart;
of a flow that is broken the check asks the pair nothing more, so nothing more is sent.
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
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from lab import netns
from lab.randomnet.generate import generate
from netviz.core.check.paths.check import PathsCheck
from netviz.core.check.paths.contract import Ask, arrives_at, between, judge
from netviz.core.check.paths.judge import Simulator
from netviz.core.model.addr import format_ip
from netviz.core.sim.outcome import BREAKS, GOOD, branch_outcome
from netviz.core.sim.trace import UNCERTAIN, Flow
from netviz.core.state.node import ClusterState, NetnsState
from tests.live.oracle.build import Built, built
from tests.live.oracle.collect import collect, collect_now
from tests.live.oracle.send import Session

PASSES = {"good": True, "breaks-contract": True, "broken": False, "denied": False}
DOCS = Path(__file__).resolve().parents[2] / "docs/proofs/pairs.md"
WAIT_S = 0.6
# An echo request and its answer of each IP version: protocol, both types.
ECHOES = {4: (socket.IPPROTO_ICMP, 8, 0), 16: (socket.IPPROTO_ICMPV6, 128, 129)}
PAYLOAD = 56
ASKED = ("icmp", "tcp")


class Said(msgspec.Struct, frozen=True):
    """A flow that the check asks of a pair, and the verdict; "" where chance decides, or nobody knows."""

    ask: Ask
    flow: Flow
    verdict: str


def passes(up: Built, one: Said) -> bool:
    """Send a flow's first packet from its pod; tells whether it is answered."""
    ask, flow = one.ask, one.flow
    place = next(place for place in up.network.places if place.name == pod_of(ask.source))
    family = socket.AF_INET6 if len(ask.addr) == 16 else socket.AF_INET
    try:
        with netns.entered_path(up.path(place)):
            if ask.proto == "tcp":
                sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            else:
                sock = socket.socket(family, socket.SOCK_RAW, ECHOES[len(ask.addr)][0])
        with sock:
            return connects(sock, flow) if ask.proto == "tcp" else answers(sock, flow)
    except OSError:
        return False


def connects(sock: socket.socket, flow: Flow) -> bool:
    """Open a connection, and break it off. Raises: OSError."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(("", flow.sport))
    sock.connect_ex((format_ip(flow.dst), flow.dport))
    return bool(select.select([], [sock], [], WAIT_S)[1]) and not sock.getsockopt(
        socket.SOL_SOCKET, socket.SO_ERROR
    )


def answers(sock: socket.socket, flow: Flow) -> bool:
    """Send an echo request; tells whether it is answered. Raises: OSError."""
    _, request, reply = ECHOES[len(flow.dst)]
    head = struct.pack("!BBHHH", request, 0, 0, flow.sport, 1) + bytes(PAYLOAD)
    # The kernel sums up ICMPv6 itself.
    sock.sendto(head[:2] + struct.pack("!H", checksum(head)) + head[4:], (format_ip(flow.dst), 0))
    deadline = time.monotonic() + WAIT_S
    while (left := deadline - time.monotonic()) > 0:
        if not select.select([sock], [], [], left)[0]:
            return False
        try:
            data = sock.recv(2048)
        except OSError:
            continue
        # A raw socket of IPv4 hands out the IP header, one of IPv6 doesn't.
        kind, _, _, ident, _ = struct.unpack_from(
            "!BBHHH", data, 0 if len(flow.dst) == 16 else (data[0] & 15) * 4
        )
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


def said(check: PathsCheck, cluster: ClusterState, ends: tuple[NetnsState, NetnsState]) -> Iterator[Said]:
    """Say what the check says of each flow that it asks of a pair.

    Raises: AssertionError where a pair's own trace says otherwise than its class.
    """
    source, target = ends
    judged = check.known.get(check.pairs.key_of(source.key, target.key))
    verdicts = {one.ask: one.verdict for one in judged.found} if judged is not None else {}
    for ask in between(source, target):
        verdict = verdicts.get(f"{ask.proto}{len(ask.addr)}")
        traced = Simulator(cluster).trace(ask)
        if ask.proto not in ASKED or verdict is None or traced is None:
            continue
        flow, trace = traced
        fates = {branch_outcome(trace, branch) in (GOOD, BREAKS) for branch in trace.branches}
        # An answer doesn't say whose it is.
        certain = trace.certainty != UNCERTAIN and len(fates) == 1 and arrives_at(trace, target)
        if certain and judge(ask, trace) != verdict:
            raise AssertionError(f"its class is {verdict}, its own trace {judge(ask, trace)}")
        yield Said(ask, flow, verdict if certain and verdict in PASSES else "")


def checked(cluster: ClusterState) -> PathsCheck:
    """Judge a state to the end."""
    check = PathsCheck()
    check.follow(cluster)
    check.finish()
    return check


def compare(seed: int) -> tuple[Counter[str], list[str]]:
    """Build a network and lay what the check says of each pair's flows beside what packets meet.

    Packets leave entries behind, for neighbours, in forwarding tables and of connections: where a flow differs, the state
    is read anew, and the flow is judged and sent once more.
    """
    counts: Counter[str] = Counter()
    wrong: list[str] = []
    network = msgspec.structs.replace(generate(seed), probes=[])
    with built(network) as up, closing(Session(up)) as session:
        session.prepare()
        cluster = collect(up)
        pods = [
            ns.key
            for node in cluster.nodes.values()
            for ns in node.netns.values()
            if ns.netns.pod is not None
        ]
        check = checked(cluster)
        for ends in ((one, other) for one in pods for other in pods if one != other):
            counts["pairs"] += 1
            source, target = (cluster.nodes[key.node].netns[key] for key in ends)
            named = f"{seed}: {pod_of(source)} to {pod_of(target)}"
            try:
                for one in list(said(check, cluster, (source, target))):
                    what = f"{one.ask.proto} over {'IPv6' if len(one.ask.addr) == 16 else 'IPv4'}"
                    if not agrees(up, one, counts):
                        counts["judged again"] += 1
                        cluster = collect_now(up)
                        check = checked(cluster)
                        source, target = (cluster.nodes[key.node].netns[key] for key in ends)
                        again = [
                            new
                            for new in said(check, cluster, (source, target))
                            if (new.ask.proto, new.ask.addr) == (one.ask.proto, one.ask.addr)
                        ]
                        if any(not agrees(up, new, counts) for new in again):
                            wrong.append(f"{named}: {what}: {again[0].verdict}, and it isn't")
                            counts["wrong"] += 1
            except AssertionError as error:
                wrong.append(f"{named}: {error}")
                counts["wrong"] += 1
    return counts, wrong


def agrees(up: Built, one: Said, counts: Counter[str]) -> bool:
    """Send a flow, if anything is said of it, and tell whether it goes as was said; counted where it does."""
    what = f"{one.ask.proto} {'IPv6' if len(one.ask.addr) == 16 else 'IPv4'}"
    if not one.verdict:
        counts[f"{what} undecided"] += 1
        return True
    got = passes(up, one)
    if got != PASSES[one.verdict]:
        return False
    counts[f"{what} {'passes' if got else 'broken'}"] += 1
    return True


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
        print(f"{seed}: {dict(counts)}", file=sys.stderr, flush=True)
        for line in found:
            print(line, flush=True)
    text = report(options.seed, options.networks, total, wrong)
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
        f"- {total['judged again']} flows were judged and sent again, after the first packets had left entries behind.",
        f"- {len(wrong)} flows are otherwise than the check says.",
        *(f"- {line}" for line in wrong),
    ]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
