"""Probes by server and collectors in every kind of network, laid beside the predictions: `make proof-observed`.

    python -m tests.live.observed_proof [--flows N] [--kinds KIND ...] [--faults] [--kills N] [--seed N]

Random flows between pods, nodes, services and the outside; with `--faults`, every fault of the lab by one flow that it
certainly affects: the observed end is the predicted one. With `--kills`, collectors killed while they observe: nothing is
left. With `--busy`, flows amid up to 50 changes and 10,000 other packets a second, three asked for at once. What it finds is
written to docs/proofs/observed.md.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lab import kinds
from lab.churn import ChurnReport, run_churn
from lab.cluster import Cluster, ClusterSpec, sweep
from lab.faults import FAULTS, affected_by, apply_fault, mend
from lab.faults.model import OUTSIDE, SMALL, Pair, dns_addresses
from lab.kubernetes.dns import PORT as DNS_PORT
from lab.spec import LabError
from lab.stack import Stack
from tests.live.fault_probes import DNS_SERVICE, LARGE_BYTES, SERVICE_PORT, service_addresses
from tests.live.observing import Asker
from tests.live.test_observations import remains

DOCS = Path(__file__).resolve().parents[2] / "docs/proofs/observed.md"
NODES, PODS = 3, 3
OPEN, CLOSED = 8080, 81
EXCHANGES = (("tcp", OPEN), ("tcp", CLOSED), ("udp", OPEN), ("icmp", None))
HEALTHY_S, PREDICTED_S = 30.0, 10.0
ATTEMPTS = 3
CHANGES, PACKETS, LONGEST_BUSY_S = 50, 10_000, 120.0
Row = tuple[str, str, str]


@contextmanager
def observed(
    kind: str, services: int = 2, keep: Path | None = None
) -> Iterator[tuple[Cluster, Stack, Asker]]:
    """A cluster of a kind, observed."""
    spec = ClusterSpec(f"po-{os.getpid()}", nodes=NODES, pods=PODS, kind=kind, services=services)
    with tempfile.TemporaryDirectory() as folder, Cluster.up(spec) as cluster:
        arguments = {node.name: node.collector_args() for node in cluster.nodes.values()}
        with Stack(arguments, Path(folder) / "var") as stack:
            stack.start()
            yield cluster, stack, Asker(stack, keep)


def random_flow(cluster: Cluster, choose: random.Random) -> tuple[str, str, dict[str, Any]]:
    """Choose a flow: from a pod or a node, to a pod, a service or the outside."""
    pods = list(cluster.pods)
    source = choose.choice([*pods, *cluster.nodes] if cluster.kind.reaches_own_pods else pods)
    services = [
        one["spec"]["clusterIP"]
        for one in cluster.state.services
        if one["spec"]["clusterIP"] != "None" and one["metadata"]["namespace"] == "default"
    ]
    target = choose.choice([pod for pod in pods if pod != source])
    if services and choose.random() < 0.15:
        return source, choose.choice(services), {"proto": "tcp", "dport": 80}
    if source in pods and choose.random() < 0.1:
        target = "internet"
    address = cluster.address_of(target, choose.choice((4, 6)) if cluster.state.spec.ipv6 else 4)
    proto, port = choose.choice(EXCHANGES)
    return source, address, {"proto": proto} | ({"dport": port} if port is not None else {})


class Tally:
    """Steps by kind and by what was seen of them, and what was wrong."""

    def __init__(self) -> None:
        self.steps: Counter[tuple[str, str]] = Counter()
        self.flows: Counter[str] = Counter()
        self.wrong: list[str] = []
        self.took_s: list[float] = []
        self.partial = 0

    def take(self, name: str, found: Any, took_s: float, *, partial_is_wrong: bool = True) -> None:
        """Count an observation."""
        is_partial = found["status"] == "partial"
        self.partial += is_partial
        self.took_s.append(took_s)
        finding = found["finding"] or found["status"]
        self.flows[finding] += 1
        if finding not in ("agrees", "unseen") or (is_partial and partial_is_wrong):
            self.wrong.append(
                f"{name}: {found['status']} {found['headline'] or found['error']} {_first(found)}"
            )
        for step in Asker.steps(found) if found["trace"] is not None else ():
            one = step["observed"]
            self.steps[step["kind"], one["match"] if one["visible"] else "cannot"] += 1

    def unseen(self) -> str:
        """The share of steps that weren't shown, by kind."""
        total = sum(self.steps.values())
        cannot = Counter({kind: n for (kind, what), n in self.steps.items() if what == "cannot"})
        share = 100 * sum(cannot.values()) / max(total, 1)
        kinds_ = ", ".join(f"{kind} {n}" for kind, n in cannot.most_common())
        return f"{total} steps, {share:.1f} % not shown{f' ({kinds_})' if kinds_ else ''}"

    def text(self) -> str:
        """Say all in a line."""
        found = ", ".join(f"{n} {what}" for what, n in sorted(self.flows.items()))
        p50, p95 = (percentile(self.took_s, share) for share in (0.5, 0.95))
        return f"{found}; {self.unseen()}; click to answer p50 {p50:.2f} s, p95 {p95:.2f} s"


def _first(found: Any) -> str:
    """Name the first step that speaks against a prediction."""
    if found["trace"] is None:
        return ""
    for step in Asker.steps(found):
        one = step["observed"]
        if one["visible"] and one["match"] in ("disagree", "not_seen", "lost"):
            return f"[{step['kind']} {step['dev']}: {one['match']} {one['why'] or ''}]"
    return f"[{len(found['trace']['observation']['extra'])} not predicted]"


def prove_flows(cluster: Cluster, asker: Asker, flows: int, choose: random.Random) -> Tally:
    """Observe random flows."""
    tally = Tally()
    for _ in range(flows):
        source, target, more = random_flow(cluster, choose)
        began = time.monotonic()
        found = asker.observe(source, target, **more)
        tally.take(f"{source} to {target} {more}", found, time.monotonic() - began)
    return tally


def request_of(cluster: Cluster, pair: Pair) -> tuple[str, str, dict[str, Any]]:
    """Say how a pair's packet is sent: from, to, and the rest of the request."""
    if pair.dst == DNS_SERVICE:
        more = {"sport": pair.sport} if pair.sport else {}
        return pair.src, dns_addresses(cluster.state)[pair.family], {"proto": "udp", "dport": DNS_PORT} | more
    if pair.dst.startswith("svc/"):
        address = service_addresses(cluster)[pair.dst.rpartition("/")[2]][pair.family == 6]
        return pair.src, address, {"proto": "tcp", "dport": SERVICE_PORT}
    target = cluster.address_of("internet" if pair.dst == OUTSIDE else pair.dst, pair.family)
    if pair.size == SMALL:
        return pair.src, target, {"proto": "tcp", "dport": OPEN}
    return pair.src, target, {"proto": "udp", "dport": OPEN, "len": LARGE_BYTES}


def prove_fault(cluster: Cluster, asker: Asker, name: str) -> str:
    """Observe one flow that a fault certainly affects: it ends where that was predicted.

    It is predicted to be good before, and not any more when it is observed. A state that is late is an honest difference:
    then it is observed again.
    """
    pairs = [pair for pair, certain in affected_by(cluster, name).items() if certain]
    if not pairs:
        return "no flow that it certainly affects"
    pair = min(pairs, key=lambda one: (one.dst.startswith("svc/"), one.family, one.size != SMALL))
    source, target, more = request_of(cluster, pair)
    request = {"from": source, "to": target, **more}
    flow = f"{source} to {target} {more['proto']}"
    if not _becomes(asker, request, good=True):
        return f"WRONG: {flow} is not predicted to be good before the fault"
    apply_fault(cluster, name)
    try:
        stays = "" if _becomes(asker, request, good=False) else "predicted to be good: "
        for attempt in range(1, ATTEMPTS + 1):
            found = asker.observe(source, target, **more)
            said = _end_of(found)
            if not said.startswith("WRONG"):
                return f"{stays}{said}" if attempt == 1 else f"{stays}{said} (attempt {attempt})"
    finally:
        mend(cluster)
    return f"{said} ({flow})"


def _becomes(asker: Asker, request: dict[str, Any], *, good: bool) -> bool:
    limit = time.monotonic() + (HEALTHY_S if good else PREDICTED_S)
    while (asker.post("/api/traces", request).get("outcome") == "good") != good:
        if time.monotonic() > limit:
            return False
        time.sleep(0.1)
    return True


def _end_of(found: Any) -> str:
    """Say what was seen of the step where the packet, or its answer, ends."""
    if found["finding"] not in ("agrees", "unseen"):
        return f"WRONG: {found['status']} {found['headline'] or found['error']} {_first(found)}"
    trace = found["trace"]
    branch = trace["branches"][trace["observation"]["nearest"]]
    path = branch["forward"] if branch["disposition"] != "DELIVERED" else branch["reply"]
    last = path["hops"][-1]["steps"][-1]
    one = last["observed"] or {"match": "not compared", "visible": True}
    seen = one["match"] if one["visible"] else "can't be seen"
    wrong = "WRONG: " if seen in ("disagree", "not_seen") else ""
    text = f"{wrong}{trace['disposition']} {trace['reason'] or ''}: {last['kind']} {last['dev'] or ''} {seen}"
    if seen == "can't be seen":
        text += f", told {trace['observation']['told']}"
    return text.replace("  ", " ")


def prove_kills(cluster: Cluster, stack: Stack, asker: Asker, kills: int, choose: random.Random) -> str:
    """Kill a collector at a random moment of an observation, start it again, and look for what is left."""
    ends: Counter[str] = Counter()
    for _ in range(kills):
        node = choose.choice(list(cluster.nodes))
        with ThreadPoolExecutor(1) as pool:
            pods = choose.sample(list(cluster.pods), 2)
            under_way = pool.submit(asker.observe, *pods, proto="tcp", dport=OPEN)
            time.sleep(choose.random() * 0.6)
            os.kill(stack.collectors[node].process.pid, signal.SIGKILL)
            found = under_way.result(120)
        ends[found["status"]] += 1
        stack.collectors.pop(node).stop()
        stack.start_collector(node)
        stack.wait_connected()
    asker.observe(*list(cluster.pods)[:2], proto="tcp", dport=OPEN)
    limit = time.monotonic() + 30
    while (left := remains(cluster, stack)) and time.monotonic() < limit:
        time.sleep(0.1)
    said = ", ".join(f"{count} {status}" for status, count in sorted(ends.items()))
    return f"WRONG: left {left[:3]}" if left else f"{said}; nothing left"


_TRAFFIC = """
import socket, sys, time
sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
sock.connect((sys.argv[1], 9))
sent, began = 0, time.monotonic()
while time.monotonic() < began + float(sys.argv[3]):
    while sent < (time.monotonic() - began) * float(sys.argv[2]):
        try:
            sock.send(bytes(32))
        except OSError:
            pass
        sent += 1
    time.sleep(0.001)
print(round(sent / (time.monotonic() - began)))
"""


def prove_busy(cluster: Cluster, asker: Asker, flows: int, choose: random.Random) -> tuple[str, list[str]]:
    """Observe flows, three asked for at once, while the cluster changes and other packets pass; a partial answer is none that is wrong."""
    pods, halt = list(cluster.pods), threading.Event()
    tally, reports = Tally(), list[ChurnReport]()
    source, sink = pods[0], cluster.address_of(pods[-1], 4)
    seconds = min(LONGEST_BUSY_S, 2.0 * flows)

    def one(number: int) -> None:
        ends = random.Random(number).sample(pods, 2)
        began = time.monotonic()
        found = asker.observe(*ends, proto=("tcp", "icmp")[number % 2])
        tally.take(f"{ends[0]} to {ends[1]}", found, time.monotonic() - began, partial_is_wrong=False)

    churn = threading.Thread(target=lambda: reports.append(run_churn(cluster, CHANGES, seconds, 1, halt)))
    with ThreadPoolExecutor(3) as pool:
        argv = [sys.executable, "-c", _TRAFFIC, sink, str(PACKETS), str(seconds)]
        traffic = pool.submit(cluster.exec, source, argv, timeout_s=None)
        churn.start()
        try:
            first = choose.randrange(1000)
            list(pool.map(one, range(first, first + flows)))
        finally:
            halt.set()
            churn.join()
        rate = traffic.result().stdout.strip() or "?"
    changed = f"{reports[0].rate_per_s:.0f} changes/s" if reports else "changes"
    return f"{changed}, {rate} packets/s: {tally.text()}; {tally.partial} partial", tally.wrong


def percentile(values: list[float], share: float) -> float:
    """The value below which a share of all are."""
    return sorted(values)[min(len(values) - 1, int(share * len(values)))]


def report(rows: list[Row], wrong: list[str]) -> None:
    """Write what was found; what other runs found of other networks and faults stays."""
    made = time.strftime("%Y-%m-%d", time.gmtime())
    how = f"{made}, Linux {platform.release()}, {os.cpu_count()} processors, load {os.getloadavg()[1]:.0f}"
    mine = {row[:2] for row in rows}
    networks = {row[0] for row in rows if row[1].endswith("flows")}
    old = DOCS.read_text().splitlines() if DOCS.exists() else []
    cells = [line.strip("| ").split(" | ") for line in old if line.startswith("| ")]
    kept = [
        one
        for one in cells
        if len(one) == 4
        and one[0] in kinds.KINDS
        and (one[0], one[1]) not in mine
        and not (one[0] in networks and one[1].endswith("flows"))
    ]
    differing = [
        line
        for line in old
        if line.startswith("- ") and line[2:].partition(":")[0] not in {row[0] for row in rows}
    ]
    table = sorted(
        [*kept, *([*row, how] for row in rows)], key=lambda one: (list(kinds.KINDS).index(one[0]), one[1])
    )
    lines = [
        "# Probes observed, beside their predictions",
        "",
        "Written by `make proof-observed`. A step is shown by a source of its own, by the frame that follows, or by what the "
        "sender was told.",
        "",
        "| network | what | found | run |",
        "| --- | --- | --- | --- |",
        *(f"| {' | '.join(one)} |" for one in table),
    ]
    if wrong or differing:
        lines += ["", "## Where they differ", "", *differing, *(f"- {one}" for one in wrong)]
    DOCS.write_text("\n".join(lines) + "\n")


def main() -> int:
    """Prove what was asked for; the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flows", type=int, default=200)
    parser.add_argument("--kinds", nargs="*", default=list(kinds.KINDS))
    parser.add_argument("--faults", action="store_true")
    parser.add_argument(
        "--busy", type=int, default=0, metavar="N", help="N flows amid changes and other traffic"
    )
    parser.add_argument("--only", nargs="*", metavar="FAULT", help="of the faults, these")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="put the files of what differs here")
    parser.add_argument("--kills", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    sweep()
    choose = random.Random(args.seed)
    rows: list[Row] = []
    wrong: list[str] = []
    for kind in args.kinds:
        with observed(kind, keep=args.keep) as (cluster, stack, asker):
            tally = prove_flows(cluster, asker, args.flows, choose)
            if args.flows:
                rows.append((kind, f"{args.flows} random flows", tally.text()))
                print(*rows[-1], *tally.wrong, sep="\n  ", file=sys.stderr, flush=True)
            wrong += [f"{kind}: {one}" for one in tally.wrong]
            if args.busy:
                said, differing = prove_busy(cluster, asker, args.busy, choose)
                rows.append((kind, f"{args.busy} flows, three at once, busy", said))
                wrong += [f"{kind}: busy: {one}" for one in differing]
                print(*rows[-1], *differing, sep="\n  ", file=sys.stderr, flush=True)
            if args.kills:
                rows.append(
                    (
                        kind,
                        f"{args.kills} collectors killed",
                        prove_kills(cluster, stack, asker, args.kills, choose),
                    )
                )
                print(*rows[-1], file=sys.stderr, flush=True)
            for fault in FAULTS.values() if args.faults else ():
                if kind not in fault.kinds or (args.only and fault.name not in args.only):
                    continue
                try:
                    rows.append((kind, fault.name, prove_fault(cluster, asker, fault.name)))
                except (LabError, AssertionError) as err:
                    rows.append((kind, fault.name, f"WRONG: {str(err)[:200]}"))
                print(*rows[-1], file=sys.stderr, flush=True)
                report(rows, wrong)  # what was found stands, should the run be ended
        report(rows, wrong)
    return int(bool(wrong) or any("WRONG" in row[2] for row in rows))


if __name__ == "__main__":
    sys.exit(main())
