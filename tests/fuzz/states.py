"""Mutated real states through the door and all that shows or uses a state.

Door (a file's bytes), projection and alerts, every namespace's detail, traces of a few flows, their text and
JSON, and the trace command itself. What is left out must be named, and no trace through it be certain.
"""

from __future__ import annotations

import contextlib
import io
import json
import logging
import tempfile
import zlib
from pathlib import Path
from random import Random
from typing import Any

import msgspec
from django.core.management import call_command

from netviz.core.sim.context import simulate_in_context
from netviz.core.sim.endpoints import EndpointError, resolve_flow
from netviz.core.sim.render import render_text, trace_json
from netviz.core.sim.trace import CERTAIN, Trace
from netviz.core.sim.walk import COUNTED
from netviz.core.state.node import ClusterState, NodeState
from netviz.core.wire.nvz import MAGIC, Capture, NvzError, join_captures, load_nvz
from netviz.ingest.faults import Faults
from netviz.topology.detail import netns_detail
from netviz.topology.projector import Projector
from tests.fuzz.mutate import damaged, mutate
from tests.fuzz.report import Report, bounded_cpu
from tests.fuzz.samples import clusters

FLOWS = 2
COMMAND_EVERY = 20
# A namespace's detail is looked at in so many namespaces of the mutated node.
DETAILS = 8


def run(total: int, seed: int, start: int = 0) -> Report:
    """Mutate states, those with the numbers from `start` to `total`."""
    report = Report("states", total, seed)
    report.done = start
    logging.disable(logging.CRITICAL)
    known = clusters()
    with tempfile.TemporaryDirectory(prefix="netviz-fuzz-") as folder:
        while report.done < total:
            number = report.done
            rng = Random(f"{seed} {number}")  # each input by itself, so that one can be looked at alone
            files = rng.choice(list(known.values()))
            at = rng.randrange(len(files))
            data = _mutated(rng, files[at][0])
            try:
                with bounded_cpu():
                    outcome = _use(report, rng, files, at, data, Path(folder))
            except Exception as err:  # noqa: BLE001
                report.fail(number, err)
                outcome = "failure"
            report.step(outcome)
    logging.disable(logging.NOTSET)
    return report


def _mutated(rng: Random, capture: Capture) -> bytes:
    """A state file with a few places of its delta, or of some of its bodies, damaged."""
    tree = msgspec.msgpack.decode(msgspec.msgpack.encode(capture))
    kind = rng.randrange(10)
    if kind == 0:
        return MAGIC + zlib.compress(damaged(rng, msgspec.msgpack.encode(tree)), 1)
    if kind == 1:
        return damaged(rng, MAGIC + zlib.compress(msgspec.msgpack.encode(tree), 1))
    if kind <= 4 and tree.get("bodies"):
        for _ in range(rng.randrange(1, 6)):
            mutate(rng, rng.choice(tree["bodies"]), rng.randrange(1, 4))
        _follow_bodies(tree, capture)
    else:
        mutate(rng, rng.choice(tree["delta"]["netns"]), rng.randrange(1, 5))
    return MAGIC + zlib.compress(msgspec.msgpack.encode(tree), 1)


def _follow_bodies(tree: dict[str, Any], capture: Capture) -> None:
    """Let the records carry the digests of the bodies as they are now, so that somebody looks at them."""
    from netviz.core.model.netfilter import encoded_digest

    new = {
        encoded_digest(memoryview(raw)): encoded_digest(msgspec.msgpack.encode(body))
        for raw, body in zip(capture.bodies, tree["bodies"], strict=True)
    }
    for netns in tree["delta"]["netns"]:
        for section in ("nft_chains", "nft_sets", "xt_chains", "ipsets"):
            for record in netns.get(section, [[]])[0]:
                if record.get("body") in new:
                    record["body"] = new[record["body"]]


def _use(
    report: Report, rng: Random, files: list[tuple[Capture, NodeState]], at: int, data: bytes, folder: Path
) -> str:
    try:
        loaded = load_nvz(data)
        cluster = join_captures([*files[:at], loaded, *files[at + 1 :]])
    except NvzError:
        return "refused file"
    state = loaded[1]
    _show(report, rng, cluster, state)
    for _ in range(FLOWS):
        _trace(report, rng, cluster)
    if report.done % COMMAND_EVERY == 0:
        _command(report, rng, files, at, data, folder)
    return "with refused records" if any(ns.refused for ns in state.netns.values()) else "whole"


def _show(report: Report, rng: Random, cluster: ClusterState, state: NodeState) -> None:
    faults = Faults()
    projector = Projector(faults)
    projector.update(cluster, {})
    msgspec.json.encode(projector.graph())
    for node, parts in faults.standing().items():
        report.wrong(report.done, f"{node} is not understood: {parts}")
    keys = list(state.netns)
    for key in rng.sample(keys, min(DETAILS, len(keys))):
        detail = netns_detail(cluster, key)
        assert detail is not None
        json.dumps(detail)
        if wrong := detail.get("not_understood"):
            report.wrong(report.done, f"a part of a detail is not understood: {wrong}", f"{key}: {wrong}")


def _ends(rng: Random, cluster: ClusterState) -> tuple[str, str]:
    spaces = [key for node in cluster.nodes.values() for key, ns in node.netns.items() if ns.addrs]
    if not spaces:
        return "nothing", "10.0.0.1"
    source = str(rng.choice(spaces))
    target = rng.choice((str(rng.choice(spaces)), "8.8.8.8", "10.96.0.1", "10.96.0.10", "fd00::99"))
    return source, target


def _trace(report: Report, rng: Random, cluster: ClusterState) -> None:
    source, target = _ends(rng, cluster)
    proto = rng.choice(("tcp", "udp", "icmp"))
    dport = None if proto == "icmp" else rng.choice((None, 53, 80, 443, 8080))
    try:
        flow = resolve_flow(
            cluster, source, target, proto, dport=dport, length=rng.choice((None, 60, 1500, 9000))
        )
    except EndpointError:
        return
    trace = simulate_in_context(cluster, flow)
    text = render_text(trace, detailed=True)
    if not all(line.isprintable() for line in text.split("\n")):
        report.wrong(report.done, "a trace's text has control characters", ascii(text))
    json.dumps(trace_json(trace, []), allow_nan=False)
    if trace.certainty == CERTAIN and _through_refused(cluster, trace):
        report.wrong(report.done, "a trace through a refused record is certain", text)


def _through_refused(cluster: ClusterState, trace: Trace) -> bool:
    hops = [
        hop
        for branch in trace.branches
        for path in (branch.forward, branch.reply)
        if path
        for hop in path.hops
    ]
    spaces = (cluster.nodes[hop.netns.node].netns.get(hop.netns) for hop in hops)
    return any(one.section not in COUNTED for ns in spaces if ns for one in ns.refused.values())


def _command(
    report: Report, rng: Random, files: list[tuple[Capture, NodeState]], at: int, data: bytes, folder: Path
) -> None:
    """Run `./manage.py trace` on the damaged file."""
    path = folder / "state.nvz"
    path.write_bytes(data)
    source, target = _ends(rng, join_captures(files))
    out, err = io.StringIO(), io.StringIO()
    argv = [
        "--state",
        str(path),
        "--from",
        source,
        "--to",
        target,
        *rng.choice((["--json"], ["-v", "2"], [])),
    ]
    status = 0
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            call_command("trace", *argv, stdout=out, stderr=err)
        except SystemExit as end:
            status = int(end.code or 0)
    if status not in (0, 2) or (status == 2 and len(err.getvalue().splitlines()) != 1):
        report.wrong(report.done, f"the trace command ended with {status}", err.getvalue())
    if not all(line.isprintable() for line in (out.getvalue() + err.getvalue()).split("\n")):
        report.wrong(report.done, "the trace command printed control characters", ascii(out.getvalue()))
