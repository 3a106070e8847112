"""`make bench`: print every figure, with the machine's details, and write docs/benchmarks.md if asked.

python -m tests.bench [NAME]... [--write]
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path

from tests.bench import (
    answer,
    conntrack,
    django_ready,
    facts,
    fleet,
    footprint,
    latency,
    netfilter,
    nftables,
    page,
    paths,
    projection,
    scale,
    search,
    snapshot,
    steady,
    traces,
    watcher,
)
from tests.bench.machine import LOOPS, Figure, machine, table

__all__ = ["django_ready", "main"]
REPORT = Path(__file__).resolve().parents[2] / "docs" / "benchmarks.md"
BENCHES: dict[str, Callable[[], Iterable[Figure]]] = {
    "snapshot": snapshot.run,
    "latency": latency.run,
    "answer": answer.run,
    "footprint": footprint.run,
    "fleet": fleet.run,
    "steady": steady.run,
    "traces": traces.run,
    "scale": scale.run,
    "facts": facts.run,
    "paths": paths.run,
    "projection": projection.run,
    "search": search.run,
    "conntrack": conntrack.run,
    "netfilter": netfilter.run,
    "nftables": nftables.run,
    "watcher": watcher.run,
    "page": page.run,
}


def main(argv: list[str]) -> int:
    """Run the named benchmarks, all by default."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure netviz.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(BENCHES)}; all without")
    parser.add_argument("--write", action="store_true", help="write docs/benchmarks.md (needs all)")
    options = parser.parse_args(argv)
    unknown = [name for name in options.names if name not in BENCHES]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are: {', '.join(BENCHES)}")
    print(f"machine: {machine()}", flush=True)
    sections = []
    for name in options.names or BENCHES:
        print(f"\n{name} ...", flush=True)
        started = time.monotonic()
        text = table(BENCHES[name]())
        print(f"{text}\n({time.monotonic() - started:.0f} s)", flush=True)
        doc = (sys.modules[BENCHES[name].__module__].__doc__ or "").strip()
        sections.append(f"## {name}\n\n{doc}\n\n{text}\n")
    if options.write:
        head = (
            "# Benchmarks\n\n`make bench` prints these figures; `make bench ARGS=--write` writes this page. "
            f"Measured on {datetime.now(UTC):%Y-%m-%d} on {machine()}. Beside each figure stands what a fixed loop in "
            f"Python ({LOOPS:,} rounds) and one wake-up by a timer cost at that moment.\n\n"
        )
        REPORT.write_text(head + "\n".join(sections))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
