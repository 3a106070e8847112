"""`./manage.py verify`: find what is wrong in a cluster from state files alone."""

from __future__ import annotations

import json
from random import Random
from typing import Any

from django.core.management.base import CommandParser

from netviz.core.check.problem import Report
from netviz.core.plain import plain
from netviz.core.wire.nvz import NvzError
from netviz.ingest.faults import sentence
from netviz.problems.checks import make_judge
from netviz.problems.told import as_json, as_junit, as_text
from netviz.tracing.offline import OfflineCommand
from netviz.tracing.states import View, of_files

SOUND, PROBLEMS, FAILED = 0, 1, 3


class Command(OfflineCommand):
    """Verify a cluster offline."""

    name = "verify"
    help = "Find what is wrong in a cluster's network from state files (python -m agents snapshot)"

    def add_arguments(self, parser: CommandParser) -> None:
        """Declare the arguments."""
        self.add_state_files(parser)
        parser.add_argument(
            "--strict", action="store_true", help="checks that can't be decided count as problems"
        )
        parser.add_argument(
            "--fail-on",
            choices=("error", "warning"),
            default="error",
            help="the least severity that makes the exit status 1 (default: error)",
        )
        parser.add_argument(
            "--seed",
            type=int,
            default=0,
            help="picks the pairs that are audited by a full trace (default: 0)",
        )
        form = parser.add_mutually_exclusive_group()
        form.add_argument("--json", action="store_true", help="the stable JSON object")
        form.add_argument("--junit", action="store_true", help="JUnit's XML, a test case for each check")

    def handle(self, *args: Any, **options: Any) -> None:
        """Judge, print, and exit with 0 (nothing that counts), 1 (problems), 2 (bad input) or 3 (netviz failed)."""
        try:
            view = of_files(options["state"], options["objects"])
        except NvzError as err:
            self.fail(str(err))
        try:
            report = judged(view, options["seed"])
            for line in self._lines(report, view, options):
                self.stdout.write(line)
        except Exception as err:
            if options["traceback"]:
                raise
            self.stderr.write(plain(f"verify: netviz itself failed: {sentence(err)}"))
            raise SystemExit(FAILED) from err
        status = PROBLEMS if counts(report, options["strict"], options["fail_on"] == "warning") else SOUND
        raise SystemExit(status)

    def _lines(self, report: Report, view: View, options: dict[str, Any]) -> list[str]:
        if options["json"]:
            return [json.dumps(as_json(report, view), indent=2)]
        if options["junit"]:
            return [as_junit(report, options["strict"], options["fail_on"] == "warning")]
        return list(as_text(report, view))


def judged(view: View, seed: int) -> Report:
    """Judge a view of the state until nothing is left to do; the pairs that are audited are the seed's."""
    judge = make_judge(Random(seed), one_state=True)
    judge.judge(view.cluster, {})
    while judge.work():
        pass
    return judge.report()


def counts(report: Report, strict: bool, warnings: bool) -> bool:
    """Tell whether a report has something that makes it fail."""
    if any(warnings or problem.severity == "error" for problem in report.problems):
        return True
    return strict and any(one.result == "unknown" for one in report.results)
