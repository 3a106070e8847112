"""`make bench`: print every figure, with the machine's details, and put it into docs/benchmarks.md if asked.

python -m tests.bench [NAME]... [--write] [--nodes N,...]

A part that fails loses no other part's figures: it is named at the end, and its section of the page stays as it was.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from tests.bench import (
    answer,
    conntrack,
    django_ready,
    facts,
    fleet,
    footprint,
    kubernetes,
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
from tests.bench.machine import Figure, lines, machine

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
    "kubernetes": kubernetes.run,
    "page": page.run,
}


def main(argv: list[str]) -> int:
    """Run the named benchmarks, all by default; returns 1 where one of them failed, after all others."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure netviz.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"which: {', '.join(BENCHES)}; all without")
    parser.add_argument(
        "--write", action="store_true", help="put what is measured in its place in docs/benchmarks.md"
    )
    parser.add_argument(
        "--nodes",
        type=lambda text: tuple(map(int, text.split(","))),
        default=page.SIZES,
        metavar="N,...",
        help="the sizes of the clusters of `page` (default: %(default)s)",
    )
    options = parser.parse_args(argv)
    benches = {**BENCHES, "page": partial(page.run, options.nodes)}
    unknown = [name for name in options.names if name not in BENCHES]
    if unknown:
        parser.error(f"no benchmark {unknown[0]!r}; there are: {', '.join(BENCHES)}")
    print(f"machine: {machine()}", flush=True)
    failed: list[str] = []
    for name in options.names or BENCHES:
        print(f"\n{name} ...", flush=True)
        started = time.monotonic()
        try:
            table = "\n".join(table_of(noted(name, benches[name](), failed)))
        except Exception:  # noqa: BLE001 - whatever it is, the other parts go on
            traceback.print_exc()
            failed.append(name)
            continue
        print(f"({time.monotonic() - started:.0f} s)", flush=True)
        if options.write:
            doc = (sys.modules[BENCHES[name].__module__].__doc__ or "").strip()
            when = f"Measured on {datetime.now(UTC):%Y-%m-%d}, commit {commit()}, on {machine()}."
            section = f"## {name}\n\n{doc}\n\n{when}\n\n{table}\n"
            REPORT.write_text(with_section(REPORT.read_text(), name, section))
    if failed:
        print(f"\nfailed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def noted(name: str, figures: Iterable[Figure], failed: list[str]) -> Iterator[Figure]:
    """Name the part as failed if a figure of it couldn't be had; the others are as good as ever."""
    for figure in figures:
        if figure.failed and name not in failed:
            failed.append(name)
        yield figure


def table_of(figures: Iterable[Figure]) -> Iterator[str]:
    """Print figures as they come, as lines of a table."""
    for line in lines(figures):
        print(line, flush=True)
        yield line


def commit() -> str:
    """Name the commit that is checked out, and whether files differ from it."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=REPORT.parent, capture_output=True, text=True
    )
    return done.stdout.strip() or "unknown"


def with_section(page: str, name: str, section: str) -> str:
    """Return the page with a part's section in the place of the former one; its head and other sections stay."""
    head, *sections = ("\n" + page).split("\n## ")
    found = {text.partition("\n")[0]: f"## {text}".rstrip() + "\n" for text in sections}
    found[name] = section
    return "\n".join((head.strip() + "\n", *(found[part] for part in BENCHES if part in found)))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
