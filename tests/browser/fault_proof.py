"""Every fault of the lab in a real browser: when its problem stands on the page, under which headline, when it leaves.

    make proof-browser-faults [ARGS='textbook vxlan --faults wrong-mtu,no-masquerade']

Times are taken where things happen: when the last change of the fault was made, when the checks took the state that has it,
when the page drew it (the page's clock is the others'). Which kind of
problem a fault is in a kind of network is what docs/proofs/problems.md says. Times are published, and fail nothing; what is not
shown, under another kind or at another place, fails.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
from playwright.sync_api import Page, sync_playwright

from agents.collectors.netfilter import QUIET_POLL_S
from agents.collectors.sockets import LOOK_S as SOCKETS_S
from agents.collectors.sysctl import LOOK_S as SYSCTLS_S
from lab.cluster import Cluster
from lab.faults import FAULTS, apply_fault, mend
from lab.spec import FaultState
from lab.stack import Stack, StackError, wait_until
from tests.browser.chromium import ARGUMENTS, chromium_path, log_in
from tests.live.problem_proof import NO_PROBLEM, NOT_FOUND, blamed, warm
from tests.live.proof import last_rows
from tests.stack import whole_netviz

DOCS = Path(__file__).resolve().parents[2] / "docs/proofs/browser-faults.md"
PROMISED_S = 2.0
PATIENCE_S = 180.0
# What undoes a change of which the kernel announces nothing: how often the collector looks.
POLLED_S = {
    "set_sysctl": SYSCTLS_S,
    "set_listening": SOCKETS_S,
    "drop_xt_tables": QUIET_POLL_S,
    "delete_ipset_entry": QUIET_POLL_S,
    "add_ipset_entry": QUIET_POLL_S,
}
# Writes down when a row of the list of problems comes, and when it is gone.
WATCH = """() => {
    window.drawn = [];
    const states = new Map();
    const look = () => {
        const now = Date.now() / 1000;
        const there = new Map();
        for (const row of document.querySelectorAll("[data-testid=problem]"))
            there.set(row.dataset.id, [row.dataset.kind, row.dataset.node, row.dataset.state,
                                       row.querySelector(".headline").textContent]);
        for (const [id, row] of there)
            if (String(states.get(id)) !== String(row)) window.drawn.push([now, id, ...row]);
        for (const [id, row] of states)
            if (!there.has(id)) window.drawn.push([now, id, row[0], row[1], "gone", row[3]]);
        states.clear();
        for (const [id, row] of there) states.set(id, row);
    };
    new MutationObserver(look).observe(document.body,
        { subtree: true, childList: true, characterData: true, attributes: true });
    look();
}"""


class Drawn(msgspec.Struct, frozen=True, array_like=True):
    """What the page drew at a time (Unix seconds) of a problem."""

    at_s: float
    id: str
    kind: str
    node: str
    state: str
    headline: str


class Shown(msgspec.Struct, frozen=True):
    """A fault on the page: the times from its last change on, in seconds.

    `polled_s` is what polling may add, `stands_s` how long its check asks it to have stood besides.
    """

    fault: str
    kind: str
    problem: str
    headline: str
    seen_s: float
    drawn_s: float
    left_s: float
    polled_s: float
    stands_s: float

    @property
    def kept(self) -> bool:
        """Whether the page had it as soon as is promised."""
        return self.drawn_s <= PROMISED_S + self.polled_s + self.stands_s


def drawn(page: Page) -> list[Drawn]:
    """All that the page drew since the last `forget`."""
    return msgspec.convert(page.evaluate("() => window.drawn"), list[Drawn])


def quiet(stack: Stack) -> bool:
    """Tell whether all is judged, and nothing is wrong."""
    status, body = stack.get("/api/problems")
    answer: dict[str, Any] = json.loads(body) if status == 200 else {}
    return answer.get("problems") == [] and answer["checked"]["state"] == "current"


def stands_s(stack: Stack, problem_id: str) -> float:
    """How long a problem's check asks it to have stood before it is told, in seconds."""
    path = stack.data_dir / "netviz.sqlite3"
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=30)) as connection:
        (body,) = connection.execute(
            "select body from problems_problem where id = ?", (problem_id,)
        ).fetchone()
    return float(json.loads(body)["grace_s"])


def bound_of(applied: FaultState) -> float:
    """How much polling may add: a fault stands when the slowest of its changes is read."""
    return max((POLLED_S.get(one.op, 0.0) for one in applied.undo), default=0.0)


def expected(kind: str) -> dict[str, str]:
    """Which kind of problem each fault is in a kind of network."""
    return {name: said.partition(":")[0] for name, where, said in last_rows("problems") if where == kind}


def prove(cluster: Cluster, stack: Stack, page: Page, name: str, problem: str) -> Shown:
    """Break, see it on the page, mend, see it leave. Raises: AssertionError, StackError."""
    wait_until(lambda: quiet(stack), PATIENCE_S, "a healthy network", 0.2)
    page.evaluate("() => { window.drawn = []; }")
    blame = blamed(cluster, name)
    applied = apply_fault(cluster, name)
    made_s = time.time()

    def is_its(one: Drawn) -> bool:
        return (one.kind, one.node) == (problem, blame["node"])

    def first() -> Drawn | None:
        return next((one for one in drawn(page) if is_its(one) and one.state == "open"), None)

    try:
        found = wait_until(lambda: first() or _pump(page), PATIENCE_S, f"{name} on the page", 0.02)
        row, stands = api_row(stack, found.id), stands_s(stack, found.id)
    finally:
        mend(cluster, applied.id)
    mended_s = time.time()
    names_its_place(found, blame, row)

    def gone() -> Drawn | None:
        last = [one for one in drawn(page) if one.id == found.id]
        return last[-1] if last[-1].state == "gone" else None

    left = wait_until(lambda: gone() or _pump(page), PATIENCE_S, f"{name} off the page", 0.02)
    since = row["since"] or row["found"]
    return Shown(
        name,
        cluster.state.spec.kind,
        problem,
        found.headline,
        _seconds(since) - made_s,
        found.at_s - made_s,
        left.at_s - mended_s,
        bound_of(applied),
        stands,
    )


def api_row(stack: Stack, problem_id: str) -> dict[str, Any]:
    """Ask for one problem."""
    status, body = stack.get(f"/api/problems/{problem_id}")
    assert status == 200, (status, body)
    return dict(json.loads(body))


def names_its_place(found: Drawn, blame: dict[str, Any], row: dict[str, Any]) -> None:
    """Hold a headline to its parts: the node or pod that is to blame, and no more words than a person reads."""
    names = {blame["node"], row["where"]["netns"], *(name for name in [blame.get("pod")] if name)}
    words = found.headline.replace("'s", "").replace(",", "").replace(":", "").split()
    assert names & set(words), f"{found.headline!r} names none of {names}"
    assert len(words) <= 20, found.headline


def _pump(page: Page) -> bool:
    """Let Playwright's own messages be heard."""
    page.wait_for_timeout(10)
    return False


def _seconds(at: str) -> float:
    return datetime.fromisoformat(at).timestamp()


def prove_kind(
    kind: str,
    only: Sequence[str],
    page: Page,
    cluster: Cluster,
    stack: Stack,
    note: Callable[[Shown | str], None],
) -> None:
    """Prove the faults of a kind of network, all or some; `note` takes each, a text where something is wrong."""
    problems = expected(kind)
    log_in(page, stack.access)
    page.goto(page.url.split("#")[0] + "#/problems")
    page.evaluate(WATCH)
    for name in faults_of(kind):
        if only and name not in only:
            continue
        try:
            assert name in problems, "docs/proofs/problems.md says nothing of it: make proof-problems"
            note(prove(cluster, stack, page, name, problems[name]))
        except (AssertionError, StackError) as error:
            there = "; ".join(f"{one.kind}: {one.headline}" for one in drawn(page)[:3]) or "nothing"
            note(f"{name} in {kind}: {error}; drawn: {there}")


def faults_of(kind: str) -> list[str]:
    """Name the faults of a kind of network that are to be found."""
    passed_by = {*NO_PROBLEM, *NOT_FOUND}
    return [fault.name for fault in FAULTS.values() if kind in fault.kinds and fault.name not in passed_by]


def spread(values: Sequence[float]) -> str:
    """Median, 95th percentile and maximum."""
    ordered = sorted(values)
    if not ordered:
        return "- | - | -"
    at = (ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, round(0.95 * len(ordered)))], ordered[-1])
    return " | ".join(f"{value:.2f}" for value in at)


def report(noted: Sequence[Shown | str]) -> str:
    """Write what was seen, with the machine and its load."""
    shown = [one for one in noted if isinstance(one, Shown)]
    wrong = [one for one in noted if isinstance(one, str)]
    told = [one for one in shown if not one.polled_s]
    polled = [one for one in shown if one.polled_s]
    late = [one for one in shown if not one.kept]
    rows: list[tuple[str, list[float], list[float]]] = [
        ("the checks look at a state that has it", [x.seen_s for x in told], [x.seen_s for x in polled]),
        (
            "it has stood, is kept, read and drawn",
            [x.drawn_s - x.seen_s for x in told],
            [x.drawn_s - x.seen_s for x in polled],
        ),
        ("**both: the page shows it**", [x.drawn_s for x in told], [x.drawn_s for x in polled]),
        ("mended, until it has left", [x.left_s for x in told], [x.left_s for x in polled]),
    ]
    kinds = ", ".join(
        f"{kind} ({sum(one.kind == kind for one in shown)} of its {len(faults_of(kind))} faults)"
        for kind in dict.fromkeys(one.kind for one in shown)
    )
    lines = [
        "# Every fault in a browser",
        "",
        f"Written by `make proof-browser-faults` on {time.strftime('%Y-%m-%d', time.gmtime())}, Linux {platform.release()},"
        f" {os.cpu_count()} cores, load {' '.join(f'{one:.1f}' for one in os.getloadavg())} (1, 5, 15 minutes): {kinds}.",
        "",
        f"{len(shown)} faults were shown under their kind and at their place, and left when they were mended;"
        f" {len(wrong)} were not. {len(shown) - len(late)} stood on the page within {PROMISED_S:g} s of the fault's last change,"
        " and what is added below.",
        "",
        *(f"- {one}" for one in wrong),
        "",
        "| seconds, from the fault's last change on | p50 | p95 | max | polled: p50 | p95 | max |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(f"| {what} | {spread(one)} | {spread(other)} |" for what, one, other in rows),
        "",
        "A fault must have stood for 0.7 s before it is told. *Stands*: its check asks for longer, because every pod is like that",
        "for a moment while it begins or ends. *Polled*: the kernel announces nothing of the change; the collector looks every so",
        "many seconds. Both are added to what is promised.",
        "",
        "| fault | network | polled, s | stands, s | on the page, s | left, s | headline |",
        "| --- | --- | --- | --- | --- | --- | --- |",
        *(
            f"| {one.fault} | {one.kind} | {one.polled_s:g} | {one.stands_s:g} | {one.drawn_s:.2f}{'' if one.kept else ' (late)'} | {one.left_s:.2f} |"
            f" {one.problem}: {one.headline} |"
            for one in sorted(shown, key=lambda one: (one.fault, one.kind))
        ),
    ]
    return "\n".join(lines) + "\n"


def main(argv: list[str]) -> int:
    """Prove the kinds that are asked for."""
    parser = argparse.ArgumentParser(prog="python -m tests.browser.fault_proof")
    parser.add_argument("kinds", nargs="*", default=["textbook", "vxlan"])
    parser.add_argument("--faults", default="", help="these alone, with commas between")
    parser.add_argument("--report", type=Path, default=DOCS)
    options = parser.parse_args(argv)
    only = [name for name in options.faults.split(",") if name]
    noted: list[Shown | str] = []

    def note(one: Shown | str) -> None:
        noted.append(one)
        print(one, file=sys.stderr, flush=True)
        options.report.write_text(report(noted))

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=chromium_path(), args=list(ARGUMENTS))
        for kind in options.kinds:
            with (
                tempfile.TemporaryDirectory() as folder,
                whole_netviz(Path(folder), pods=2, kind=kind, services=2) as (cluster, stack),
            ):
                warm(cluster)
                page = chromium.new_page()
                prove_kind(kind, only, page, cluster, stack, note)
                page.close()
        chromium.close()
    print(report(noted))
    return int(any(isinstance(one, str) for one in noted))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
