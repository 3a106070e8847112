"""`python -m tests.live.oracle`: run random networks, say how often predictions are wrong, keep what fails."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tests.live.oracle import report
from tests.live.oracle.campaign import PACKETS_A_NETWORK, run_campaign
from tests.live.oracle.cases import keep, load_cases, replay, shrink
from tests.live.oracle.compare import ONE_OF, RIGHT, UNKNOWN, WRONG
from tests.live.oracle.frozen import freeze, write_frozen
from tests.live.oracle.route_get import compare_lookups
from tests.live.oracle.run import Summary, judged, observe

MAX_SHRUNK = 5
LOOKUPS_EACH = 200


def _progress(summary: Summary, seconds: float) -> None:
    wrong, unknown = summary.verdicts.get("wrong", 0), summary.verdicts.get("unknown", 0)
    print(
        f"\r{summary.networks} networks, {summary.packets} packets, {wrong} wrong, {unknown} UNKNOWN, {seconds:.0f} s ",
        end="",
        file=sys.stderr,
        flush=True,
    )


def _rerun_kept() -> int:
    wrong = 0
    for name, case in load_cases().items():
        comparison = replay(case.network)
        if comparison.verdict == WRONG:
            wrong += 1
            print(f"kept case {name}: {comparison.why}")
    return wrong


def _freeze(names: list[str]) -> int:
    """Run kept cases live and freeze what the kernel does not contradict; all of them without names."""
    failed = 0
    for name, case in load_cases().items():
        if names and name not in names:
            continue
        observed = observe(case.network, len(case.network.probes) - 1)
        (comparison,) = judged(observed)
        if comparison.verdict in (RIGHT, ONE_OF, UNKNOWN):
            write_frozen(name, freeze(case.network, observed))
        else:
            failed += 1
            print(f"{name} is not frozen: {comparison.verdict} {comparison.why}")
    return failed


def _lookups(seed: int, wanted: int) -> tuple[int, list[str]]:
    asked, differences = 0, list[str]()
    while asked < wanted:
        count, found = compare_lookups(seed, LOOKUPS_EACH)
        asked, seed, differences = asked + count, seed + 1, differences + found
        print(f"\r{asked} lookups, {len(differences)} different ", end="", file=sys.stderr, flush=True)
    for line in differences[:20]:
        print(line)
    if wanted:
        print(f"\nrouting alone: {asked} lookups, {len(differences)} different")
    return asked, differences


def main() -> int:
    """Run, print, and return 1 when anything is wrong."""
    parser = argparse.ArgumentParser(prog="python -m tests.live.oracle", description=__doc__)
    parser.add_argument("--packets", type=int, default=1000, help="how many packets at least")
    parser.add_argument("--networks", type=int, default=0, help="how many networks at least")
    parser.add_argument(
        "--seed", type=int, default=int(time.time()) // 86400 * 100_000, help="the first seed"
    )
    parser.add_argument(
        "--keep", action="store_true", help="shrink what is wrong and keep it in tests/data/oracle"
    )
    parser.add_argument(
        "--lookups", type=int, default=0, help="also compare that many lookups of routing alone"
    )
    parser.add_argument("--report", type=Path, help="write the report as Markdown")
    parser.add_argument(
        "--freeze", nargs="*", metavar="NAME", help="freeze the kept cases (all, or those named), and stop"
    )
    args = parser.parse_args()
    if args.freeze is not None:
        return 1 if _freeze(args.freeze) else 0
    networks = args.networks or max(1, args.packets // PACKETS_A_NETWORK)
    print(f"seed {args.seed}, {args.packets} packets, {networks} networks", flush=True)
    started = time.monotonic()
    summary = run_campaign(args.seed, args.packets, networks, _progress)
    seconds = time.monotonic() - started
    print(file=sys.stderr)
    print(report.text(summary))
    asked, differences = _lookups(args.seed, args.lookups)
    if args.report is not None:
        args.report.write_text(report.markdown(summary, args.seed, seconds, asked, len(differences)))
    if args.keep:
        kinds: dict[str, tuple[int, int]] = {}
        for failure in summary.failures:
            kinds.setdefault(failure.predicted, (failure.seed, failure.number))
        each = max(1, -(-args.packets // networks) + 1)
        for seed, number in list(kinds.values())[:MAX_SHRUNK]:
            case = shrink(seed, each, number)
            print(
                f"kept {keep(case, f's{seed}-{number}')}"
                if case
                else f"seed {seed} probe {number}: not again"
            )
    kept = _rerun_kept()
    return 1 if summary.failures or kept or differences else 0


if __name__ == "__main__":
    sys.exit(main())
