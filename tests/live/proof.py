"""The long proofs of the lab: every kind of network, every fault, real packets and predictions.

    python -m tests.live.proof lab       each kind and variant, 3 nodes with 4 pods: every pair with every exchange,
                                         every service from each node, in every mode of kube-proxy
    python -m tests.live.proof faults    each fault in each kind that it works in: affected pairs, predictions, undoing
    python -m tests.live.proof problems  each kind without a fault, and each fault in it: what netviz finds unasked
    python -m tests.live.proof healthy   each kind in three sizes, shapes of services and families: no problem, nothing undecided

What they find is written to docs/proofs, with the date and kernel.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec

from lab import kinds
from lab.cluster import Cluster, ClusterSpec, sweep
from lab.faults import FAULTS, affected_by, apply_fault, mend, possible
from lab.reality import Probe, send_all
from lab.spec import PROXIES
from tests.live import kind_probes
from tests.live.fault_probes import SERVICE_PORT, differences, healthy, kernel_state, left_behind
from tests.live.prediction import snapshot
from tests.live.problem_proof import NO_PROBLEM, NOT_FOUND, Watch, found_and_gone, unhealthy, warm
from tests.live.translated import compare_translated

DOCS = Path(__file__).resolve().parents[2] / "docs/proofs"
NODES, PODS = 3, 4


def specs() -> Iterator[ClusterSpec]:
    """Every kind in each of its variants."""
    for name, kind in kinds.KINDS.items():
        for variant in kind.variants or ("",):
            yield ClusterSpec("proof", nodes=NODES, pods=PODS, kind=name, variant=variant)


def network(spec: ClusterSpec) -> str:
    """Name a kind with its variant; the first one goes without."""
    first = spec.variant in kinds.KINDS[spec.kind].variants[:1]
    return spec.kind if first or not spec.variant else f"{spec.kind} {spec.variant}"


def prove_pairs(spec: ClusterSpec) -> str:
    """Hold every exchange over every pair: all delivered as they should be, each prediction right."""
    with Cluster.up(spec) as cluster, tempfile.TemporaryDirectory() as folder:
        _, compared = kind_probes.hold(cluster, Path(folder), kind_probes.probes(cluster))
    return f"{len(compared)} of {len(compared)} as they should be, and predicted"


def prove_services(kind: str, proxy: str) -> str:
    """Hold every service of ten from each node, and from pods where their packets pass their node."""
    spec = ClusterSpec("proof", nodes=NODES, pods=5, kind=kind, services=10, proxy=proxy)
    with Cluster.up(spec) as cluster, tempfile.TemporaryDirectory() as folder:
        sources = [*cluster.nodes, "web-1", "jobs-2"]
        compared = kind_probes.hold_services(
            cluster, Path(folder), kind_probes.service_probes(cluster, sources)
        )
    results = Counter(one.outcome.result for one in compared)
    said = ", ".join(f"{name} {count}" for name, count in sorted(results.items()))
    certain = sum(one.verdict == "right" for one in compared)
    return f"{said}; none mispredicted, {certain} with one possible end"


def prove_fault(cluster: Cluster, before: dict, state: dict, name: str) -> str:  # type: ignore[type-arg]
    """Apply a fault: affected pairs as it says, predictions right, undone without a trace."""
    expected = affected_by(cluster, name)
    apply_fault(cluster, name)
    try:
        found = differences(cluster, before, expected)
        wrong, unknown, count = mispredicted(cluster)
    finally:
        mend(cluster)
    if left := left_behind(cluster, state):
        found.append(f"its undoing left something: {left[0]}")
    if found:
        return f"WRONG: {'; '.join(found[:3])}"
    certain = sum(expected.values())
    pairs = f"{certain} pairs for certain, {len(expected) - certain} by chance"
    if wrong:
        return f"{pairs}; WRONG: {len(wrong)} of {count} predictions, such as {wrong[0]}"
    open_ended = f", {unknown} unknown" if unknown else ""
    return f"{pairs}; {count} predictions, none wrong{open_ended}"


def mispredicted(cluster: Cluster) -> tuple[list[str], int, int]:
    """Predict one TCP exchange over every pair with the fault in effect: what is wrong, unknown, predicted."""
    with tempfile.TemporaryDirectory() as folder:
        state = snapshot(cluster, Path(folder))
    wanted = kind_probes.probes(cluster, (("tcp", kind_probes.OPEN),))
    if cluster.state.services:
        wanted += [
            Probe(src, one["spec"]["clusterIP"], "tcp", SERVICE_PORT)
            for src in [*cluster.pods, *cluster.nodes]
            for one in cluster.state.services
            if one["metadata"]["namespace"] == "default"
        ]
    compared = [compare_translated(state, cluster, outcome) for outcome in send_all(cluster, wanted)]
    wrong = [one.describe() for one in compared if one.verdict == "wrong"]
    return wrong, sum(one.verdict == "unknown" for one in compared), len(compared)


def report(
    title: str, rows: list[tuple[str, str, str]], heads: tuple[str, str, str], name: str, of_run: str = ""
) -> None:
    """Write a table with what was seen and where; `of_run` says which rows are of this run, if not all are."""
    made = time.strftime("%Y-%m-%d", time.gmtime())
    earlier = f" Of that run are the rows of {of_run}; the others are of an earlier one." if of_run else ""
    written = f"Written by `make proof-{name}` on {made}, Linux {platform.release()}.{earlier}"
    lines = [f"# {title}", "", written, ""]
    lines += ["| " + " | ".join(row) + " |" for row in (heads, ("---",) * 3, *rows)]
    DOCS.mkdir(exist_ok=True)
    (DOCS / f"{name}.md").write_text("\n".join(lines) + "\n")


def last_rows(name: str) -> list[tuple[str, str, str]]:
    """Read the table that `report` wrote last."""
    path = DOCS / f"{name}.md"
    lines = path.read_text().splitlines() if path.exists() else []
    cells = [line.removeprefix("| ").removesuffix(" |").split(" | ", 2) for line in lines if line[:2] == "| "]
    return [(one, two, three) for one, two, three in cells[2:]]


def prove_lab() -> int:
    """Prove every kind; the exit status."""
    rows: list[tuple[str, str, str]] = []
    for spec in specs():
        rows.append(
            (
                network(spec),
                "every pair, IPv4 and IPv6",
                attempt(lambda s=spec: prove_pairs(s)),
            )
        )
    for kind in kinds.KINDS:
        for proxy in PROXIES:
            rows.append(
                (kind, f"ten services, {proxy}", attempt(lambda k=kind, p=proxy: prove_services(k, p)))
            )
    report("Every kind of network of the lab", rows, ("kind", "what", "real packets"), "lab")
    return any("WRONG" in row[2] for row in rows)


def attempt(prove: object) -> str:
    """Run one proof; what it asserts against becomes its result."""
    try:
        said = prove()  # type: ignore[operator]
    except AssertionError as error:
        said = f"WRONG: {' '.join(str(error).split())[:600]}"
    print(said, file=sys.stderr, flush=True)
    return str(said)


def prove_faults(only: list[str], names: list[str]) -> int:
    """Prove every fault, or those with these names, in every kind and variant that can have it; the exit status.

    What the last run said of those that aren't asked for now stands.
    """
    rows: list[tuple[str, str, str]] = []
    names = names or list(FAULTS)
    asked = [spec for spec in specs() if not only or spec.kind in only or network(spec) in only]
    for spec in asked:
        built_as = kinds.KINDS[spec.kind].built_as(spec)
        needs = {FAULTS[name].needs_services for name in names if built_as in FAULTS[name].kinds}
        for services in (2 * needed for needed in sorted(needs)):
            name = f"proof-{os.getpid()}"
            with Cluster.up(msgspec.structs.replace(spec, name=name, pods=2, services=services)) as cluster:
                before, state = healthy(cluster), kernel_state(cluster)
                for fault in possible(cluster):
                    if fault.needs_services != bool(services) or fault.name not in names:
                        continue
                    print(network(spec), fault.name, end=": ", file=sys.stderr, flush=True)
                    said = attempt(lambda n=fault.name, c=cluster, b=before, s=state: prove_fault(c, b, s, n))
                    rows.append((fault.name, network(spec), said))
    networks = {network(spec) for spec in asked}
    rows += [row for row in last_rows("faults") if row[0] not in names or row[1] not in networks]
    rows.sort()
    of_run = ", ".join((*([] if len(names) == len(FAULTS) else names), *(sorted(networks) if only else ())))
    report(
        "Every fault of the lab, in every kind of network",
        rows,
        ("fault", "kind", "what was seen"),
        "faults",
        of_run,
    )
    return any("WRONG" in row[2] for row in rows)


def prove_problem(cluster: Cluster, watch: Watch, name: str) -> str:
    """Apply a fault: a problem is found at the right place, and gone when it is mended."""
    there, wrong = found_and_gone(cluster, watch, name)
    passed_by = {**NO_PROBLEM, **NOT_FOUND}
    if not there and name in passed_by and not wrong[1:]:
        return f"not found: {passed_by[name]}" if name in NOT_FOUND else f"no problem: {passed_by[name]}"
    if wrong:
        return f"WRONG: {'; '.join(wrong)}"
    return f"{there[0].kind}: {there[0].headline}"


def prove_problems(only: list[str]) -> int:
    """Prove that every fault is found unasked, and nothing where there is none; the exit status.

    What the last run said of kinds that aren't asked for now stands.
    """
    rows: list[tuple[str, str, str]] = []
    for kind in only or list(kinds.KINDS):
        spec = ClusterSpec(f"proof-{os.getpid()}", nodes=NODES, pods=2, kind=kind, services=2)
        with Cluster.up(spec) as cluster:
            warm(cluster)
            watch = Watch(cluster)
            print(kind, end=": ", file=sys.stderr, flush=True)
            rows.append(("(none)", kind, attempt(lambda w=watch: prove_sound(w))))
            for fault in (one for one in FAULTS.values() if kind in one.kinds):
                print(kind, fault.name, end=": ", file=sys.stderr, flush=True)
                rows.append(
                    (
                        fault.name,
                        kind,
                        attempt(lambda n=fault.name, c=cluster, w=watch: prove_problem(c, w, n)),
                    )
                )
    rows += [row for row in last_rows("problems") if row[1] not in {kind for _, kind, _ in rows}]
    rows.sort()
    report(
        "What netviz finds unasked",
        rows,
        ("fault", "kind", "what was found, and gone when mended"),
        "problems",
    )
    return any("WRONG" in row[2] for row in rows)


def prove_sound(watch: Watch) -> str:
    """Judge a healthy network: no problem, and nothing undecided."""
    found = watch.look()
    wrong = unhealthy(found)
    checks = len(found.results)
    return (
        f"WRONG: {'; '.join(wrong[:3])}"
        if wrong
        else f"no problem; {checks} checks, {found.pairs} pairs of pods"
    )


def healthy_specs() -> Iterator[ClusterSpec]:
    """Each kind three times over: as users have it, with kube-proxy's other mode, and without IPv6 and services."""
    name = f"proof-{os.getpid()}"
    for kind in kinds.KINDS:
        yield ClusterSpec(name, nodes=3, pods=2, kind=kind, services=2)
        yield ClusterSpec(name, nodes=2, pods=4, kind=kind, services=6, proxy="iptables")
        yield ClusterSpec(name, nodes=4, pods=3, kind=kind, ipv6=False)


def prove_healthy() -> int:
    """Prove that nothing is found where nothing is wrong: as built, and after everybody has talked; the exit status."""
    rows: list[tuple[str, str, str]] = []
    for spec in healthy_specs():
        what = f"{spec.nodes} nodes, {spec.pods} pods each; " + (
            f"{spec.services} services by {spec.proxy}" if spec.services else "no services"
        )
        with Cluster.up(spec) as cluster:
            watch = Watch(cluster)
            print(spec.kind, what, end=": ", file=sys.stderr, flush=True)
            new = attempt(lambda w=watch: prove_sound(w))
            warm(cluster)
            used = attempt(lambda w=watch: prove_sound(w))
        rows.append(
            (
                spec.kind,
                what + ("" if spec.ipv6 else ", IPv4 alone"),
                new if new == used else f"new: {new}; used: {used}",
            )
        )
    report("Healthy networks", rows, ("kind", "what", "what is found, as built and in use"), "healthy")
    return any("WRONG" in row[2] for row in rows)


def main() -> int:
    """Prove what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("lab", "faults", "problems", "healthy"))
    parser.add_argument("kinds", nargs="*", help="faults and problems: these kinds alone")
    parser.add_argument(
        "--fault", action="append", choices=FAULTS, metavar="NAME", help="faults: this one alone (repeatable)"
    )
    args = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "netviz.settings")
    sweep()
    if args.what == "problems":
        return prove_problems(args.kinds)
    if args.what == "healthy":
        return prove_healthy()
    return prove_lab() if args.what == "lab" else prove_faults(args.kinds, args.fault or [])


if __name__ == "__main__":
    sys.exit(main())
