"""500 random flows under random NetworkPolicies that the lab's agent enforces: intent, prediction and real packets.

    python -m tests.live.policies_proof [--flows 500] [--seed N] [KIND]...

The lab's faults of policies besides: each has to be found at its node, and gone when it is mended. And rounds in which pods are restricted in both directions at once, where the agent (as kube-router) lets through what
the API denies: each such flow has to be predicted, and the policy check has to name its node.
"""

from __future__ import annotations

import argparse
import os
import platform
import sys
import time
from pathlib import Path
from random import Random

from lab import kinds
from lab.cluster import Cluster, ClusterSpec, sweep
from lab.faults import possible
from tests.live.policies import Held, hold, random_policies, random_probes
from tests.live.problem_proof import Watch, found_and_gone, unhealthy, warm

DOC = Path(__file__).resolve().parents[2] / "docs" / "proofs" / "policies.md"
ROUND = 25
ENFORCED = tuple(name for name in kinds.KINDS if name not in ("macvlan",))


def prove(kind: str, flows: int, pick: Random, plain: bool) -> tuple[list[Held], int, list[str]]:
    """Hold flows in a cluster of a kind; returns them, how many problems the check told, and which of them aren't so."""
    held: list[Held] = []
    problems, untrue = 0, []
    with Cluster.up(
        ClusterSpec(f"policies-{os.getpid()}", nodes=3, pods=5, kind=kind, services=2)
    ) as cluster:
        while len(held) < flows:
            count = min(ROUND, flows - len(held))
            found, told, not_so = hold(
                cluster, random_policies(pick, plain=plain), random_probes(pick, cluster, count)
            )
            held += found
            problems += len(told)
            untrue += [f"{kind}: not so: {one.headline}" for one in not_so]
            print(
                kind,
                len(held),
                [one.describe() for one in found if not one.agrees],
                file=sys.stderr,
                flush=True,
            )
    return held, problems, untrue


def prove_faults(kind: str) -> list[tuple[str, str]]:
    """Apply each fault of policies in a cluster of a kind: what is found; "WRONG" begins what is not as it should be."""
    rows = []
    with Cluster.up(
        ClusterSpec(f"policies-{os.getpid()}", nodes=2, pods=3, kind=kind, services=2)
    ) as cluster:
        warm(cluster)
        watch = Watch(cluster, objects=True)
        wrong = unhealthy(watch.look())
        rows.append(("(none)", f"WRONG: {'; '.join(wrong)}" if wrong else "no problem, nothing undecided"))
        for fault in possible(cluster):
            if fault.area == "policies":
                found, wrong = found_and_gone(cluster, watch, fault.name)
                said = f"{found[0].kind}: {found[0].headline}" if found else "nothing"
                rows.append((fault.name, f"WRONG: {'; '.join(wrong)}" if wrong else said))
                print(kind, *rows[-1], file=sys.stderr, flush=True)
    return rows


def row(kind: str, what: str, held: list[Held], problems: int) -> str:
    """A line of the report."""
    came = sum(one.came for one in held)
    said = f"{came} came, {len(held) - came} were refused"
    agree = sum(one.agrees for one in held)
    predicted = sum(one.predicted_right for one in held)
    return f"| {kind} | {what} | {len(held)} | {said} | {predicted} | {agree} | {problems} |"


def main() -> int:
    """Prove, and write the report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--flows", type=int, default=500)
    parser.add_argument("--seed", type=int, default=12)
    parser.add_argument("kinds", nargs="*", default=list(ENFORCED))
    args = parser.parse_args()
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "netviz.settings")
    sweep()
    pick, rows, faults, wrong = Random(args.seed), [], [], []
    each = -(-args.flows // len(args.kinds))
    for kind in args.kinds:
        held, problems, untrue = prove(kind, each, pick, True)
        rows.append(row(kind, "one direction a role", held, problems))
        wrong += [f"{kind}: {one.describe()}" for one in held if not one.agrees]
        wrong += untrue
        held, problems, untrue = prove(kind, max(ROUND, each // 4), pick, False)
        rows.append(row(kind, "both directions", held, problems))
        wrong += [f"{kind}: {one.describe()}" for one in held if not one.predicted_right]
        wrong += untrue
        found = prove_faults(kind)
        faults += [f"| {name} | {kind} | {said} |" for name, said in found]
        wrong += [f"{kind}: {name}: {said}" for name, said in found if said.startswith("WRONG")]
    made = time.strftime("%Y-%m-%d", time.gmtime())
    lines = [
        "# NetworkPolicies: intent, prediction and packets",
        "",
        f"Written by `make proof-policies` on {made}, Linux {platform.release()}, seed {args.seed}.",
        "",
        "Random policies, enforced by the lab's agent as kube-router does, and random flows between pods, from nodes and to the",
        "outside; bridged packets pass the rules, as kube-proxy has it. With pods restricted in both directions, the agent lets pass",
        "what one direction's rules allow, as kube-router does: there intent and kernel differ. So they do where one rule has a range",
        "with an exception beside a range that has it: the agent puts both in one set. Of each problem that the policy check tells, a",
        "packet is sent, and has to show it.",
        "",
        "| kind | pods are restricted in | flows | real packets | predicted right | all three agree | problems told |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *rows,
        "",
        "| fault | kind | what was found, and gone when mended |",
        "| --- | --- | --- |",
        *faults,
        "",
        *(["Wrong:", "", *(f"- {one}" for one in wrong)] if wrong else ["Nothing was wrong."]),
    ]
    DOC.write_text("\n".join(lines) + "\n")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
