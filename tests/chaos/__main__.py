"""`make chaos`: faults by a seed on one server and on two, checks at checkpoints and at the end, a report.

    python -m tests.chaos [--one N] [--two N] [--seed S] [--report docs/reliability.md]

Exit status 1 and the faults in words when something doesn't hold.
"""

from __future__ import annotations

import argparse
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec

from lab.stack import wait_until
from tests.chaos.faults import MANY, ONE, Fault, deck
from tests.chaos.judge import judge_journal, judge_traces, unfinished
from tests.chaos.load import Asking, Churning
from tests.chaos.report import write_section
from tests.chaos.site import Site, one_server, two_servers
from tests.live.comparison import assert_converges

CHECK_EVERY = 10
REST_S = (0.5, 2.5)
TRACES_END_S = 120.0
CONVERGE_S = 90.0


class Outcome(msgspec.Struct):
    """What a run did, and found wrong."""

    name: str
    seed: int
    faults: Counter[str] = msgspec.field(default_factory=Counter)
    changes: int = 0
    churned_s: float = 0.0
    seconds: float = 0.0
    acknowledged: int = 0
    rows: int = 0
    accepted: int = 0
    ends: Counter[str] = msgspec.field(default_factory=Counter)
    failures: Counter[str] = msgspec.field(default_factory=Counter)
    statuses: Counter[int] = msgspec.field(default_factory=Counter)
    checks: int = 0
    wrong: list[str] = msgspec.field(default_factory=list)


def say(words: str) -> None:
    """A line of progress."""
    print(f"{time.strftime('%H:%M:%S')} {words}", flush=True)


class Run:
    """One run over one site."""

    def __init__(self, name: str, site: Site, seed: int) -> None:
        self.site = site
        self.draw = random.Random(seed)
        self.outcome = Outcome(name, seed)
        self._asking: Asking | None = None
        self._accepted: list[int] = []

    def go(self, faults: tuple[Fault, ...], count: int) -> Outcome:
        """Draw the faults and live through them."""
        began = time.monotonic()
        cards = deck(faults, count, self.draw)
        for first in range(0, count, CHECK_EVERY):
            self._some(cards[first : first + CHECK_EVERY], first, count)
            self._check()
        self.outcome.seconds = time.monotonic() - began
        return self.outcome

    def _some(self, cards: list[Fault], first: int, count: int) -> None:
        churning = Churning(self.site, self.draw.randrange(1 << 30))
        asking = Asking(self.site, self.draw.randrange(1 << 30))
        try:
            for number, fault in enumerate(cards, first + 1):
                seconds = self.draw.uniform(fault.shortest_s, fault.longest_s)
                say(f"{self.outcome.name} {number}/{count}: {fault.name}, {seconds:.1f} s")
                try:
                    fault.act(self.site, self.draw, seconds)
                except AssertionError as err:
                    self._note([f"{fault.name}: {err}"])
                self.outcome.faults[fault.name] += 1
                time.sleep(self.draw.uniform(*REST_S))
        finally:
            asking.stop()
            report = churning.stop()
        self.outcome.changes += report.changes
        self.outcome.churned_s += report.elapsed_s
        self.outcome.statuses += asking.statuses
        self._accepted += asking.accepted
        self._note(asking.wrong)

    def _check(self) -> None:
        """Let everything come to rest and judge it."""
        site, outcome = self.site, self.outcome
        site.wait_settled()
        for server in site.servers:
            try:
                assert_converges(server, site.folder, CONVERGE_S)
            except AssertionError as err:
                self._note([f"kernel and {server.data_dir.name} differ: {err}"])
        wait_until(lambda: not unfinished(site.rows), TRACES_END_S, "all traces end", every_s=0.5)
        self._note(judge_traces(self._accepted, site.rows))
        outcome.accepted = len(self._accepted)
        outcome.ends = Counter(
            dict(site.rows("select status, count(*) from tracing_tracerun group by status"))
        )
        why = "select error, count(*) from tracing_tracerun where status = 'failed' group by error"
        outcome.failures = Counter(dict(site.rows(why)))
        outcome.acknowledged = outcome.rows = 0
        for node in site.nodes:
            found = judge_journal(node, site.told(node), site.rows)
            self._note(found.wrong)
            outcome.acknowledged += found.acknowledged
            outcome.rows += found.rows
        outcome.checks += 1
        say(
            f"{outcome.name}: check {outcome.checks}: {outcome.changes} changes, {outcome.acknowledged} "
            f"acknowledged, {outcome.rows} rows, {outcome.accepted} traces accepted, ends {dict(outcome.ends)} "
            f"{dict(outcome.failures)}, answers {dict(outcome.statuses)}, {len(outcome.wrong)} wrong"
        )

    def _note(self, wrong: list[str]) -> None:
        for words in wrong:
            if words not in self.outcome.wrong:
                self.outcome.wrong.append(words)
                say(f"WRONG: {words[:600]}")


def run_one(
    name: str, made: AbstractContextManager[Site], faults: tuple[Fault, ...], count: int, seed: int
) -> Outcome:
    """Make a site and run on it."""
    say(f"{name}: {count} faults, seed {seed}")
    with made as site:
        return Run(name, site, seed).go(faults, count)


def main() -> int:
    """Run both, report."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--one", type=int, default=100, metavar="N", help="faults on one server")
    parser.add_argument("--two", type=int, default=34, metavar="N", help="faults on two servers")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, help="write the section Chaos of this file")
    parser.add_argument("--keep", action="store_true", help="keep the logs")
    args = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="nv-chaos-"))
    folder.chmod(0o755)
    outcomes = []
    try:
        if args.one:
            (folder / "one").mkdir()
            outcomes.append(run_one("one server", one_server(folder / "one"), ONE, args.one, args.seed))
        if args.two:
            (folder / "two").mkdir()
            outcomes.append(run_one("two servers", two_servers(folder / "two"), MANY, args.two, args.seed))
    finally:
        if args.keep:
            say(f"logs: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    if args.report:
        write_section(args.report, outcomes)
    wrong = [words for outcome in outcomes for words in outcome.wrong]
    say(f"{len(wrong)} wrong")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
