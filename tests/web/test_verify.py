"""`./manage.py verify` as pipelines and people run it: files in; text, JSON or JUnit out; and the exit status."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr
from pathlib import Path
from xml.etree import ElementTree

import msgspec
import pytest
from django.core.management import call_command

from netviz.core.state.node import SectionStatus
from netviz.core.wire.nvz import dump_nvz
from netviz.problems import told
from netviz.problems.management.commands import verify
from tests.core.check.paths.test_pairs import deny
from tests.core.sim.build import Net, textbook

ROOT = Path(__file__).resolve().parents[2]
Files = Callable[[Net], list[str]]


def broken() -> Net:
    """An error on node-2, and a warning on node-1."""
    net, made = textbook(2, 3)
    made["pod-2-1"].addr("eth0", "10.1.1.11/24")
    made["node-1"].change("veth-pod-1-1", xdp=2)
    return net


def warned() -> Net:
    net, made = textbook(2, 3)
    made["node-1"].change("veth-pod-1-1", xdp=2)
    return net


@pytest.fixture
def files(tmp_path: Path) -> Files:
    """Write a net's nodes as state files; the options that name them."""

    def write(net: Net, **status: SectionStatus) -> list[str]:
        options = []
        cluster = net.cluster()
        for name, node in cluster.nodes.items():
            path = tmp_path / f"{name}.nvz"
            changed = msgspec.structs.replace(node, status={**node.status, **status})
            path.write_bytes(dump_nvz(changed, tuple(cluster.bodies.values()), 1_000_000.0))
            options += ["--state", str(path)]
        return options

    return write


def run(*args: str) -> tuple[int, str, str]:
    """Run the command in this process: exit status, output, complaints."""
    out, err = io.StringIO(), io.StringIO()
    with pytest.raises(SystemExit) as ended, redirect_stderr(err):
        call_command("verify", *args, stdout=out, stderr=err)
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


def test_it_needs_no_database_and_writes_nothing(tmp_path: Path, files: Files) -> None:
    (tmp_path / "var").touch()  # in the place of a folder, which root could write in any case
    env = {**os.environ, "NETVIZ_DATABASE_URL": "sqlite:////nonexistent/db.sqlite3"}
    argv = [sys.executable, "manage.py", "verify", *files(broken()), "--json"]
    env["NETVIZ_VAR_DIR"] = str(tmp_path / "var")
    done = subprocess.run(argv, capture_output=True, text=True, cwd=ROOT, env=env, check=False)
    assert (done.returncode, done.stderr) == (1, "")
    assert len(json.loads(done.stdout)["problems"]) == 2


def test_a_sound_network_says_what_was_checked(files: Files) -> None:
    status, out, err = run(*files(textbook()[0]))
    assert (status, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "No problem found in what was checked."
    assert (
        lines[2]
        == "CHECKED: 2 nodes, 4 pods, 16 pairs in 1 class; the oldest state is of 1970-01-12 13:46:40 UTC"
    )
    assert any(line.split()[:4] == ["pass", "addresses", "4", "addresses"] for line in lines)
    assert "          16 random pairs also traced in full: none judged otherwise" in lines
    (idle,) = (line for line in lines if line.startswith("  nothing to judge: "))
    assert "tunnels" in idle
    assert not any(line.startswith("  nothing ") for line in lines if line != idle)
    assert not any("drops" in line for line in lines)  # one state says nothing of what rises


def test_pairs_that_policies_deny_are_told_though_the_check_has_passed(files: Files) -> None:
    net, made = textbook(2, 2)
    deny(made, "pod-1-1")
    status, out, _ = run(*files(net))
    assert status == 0
    assert "          4 pairs denied by policy\n" in out
    status, out, _ = run(*files(net), "--json", "--seed", "7")
    shown = json.loads(out)["checked"]
    paths = next(one for one in shown["checks"] if one["name"] == "paths")
    assert (paths["result"], paths["denied"], paths["audited"], paths["differed"]) == ("pass", 4, 16, 0)
    assert shown["differences"] == []


def test_problems_are_told_the_worst_first_with_what_to_do(files: Files) -> None:
    status, out, _ = run(*files(broken()))
    assert status == 1
    assert out.startswith(
        "2 problems: 1 breaks traffic, 1 not known.\n\nBREAKS TRAFFIC\n\nERROR: default/pod-1-1"
    )
    assert "    check on node-1 (default/pod-1-1):  nsenter --net=/run/netns/node-1-pod-1-1 ip addr" in out
    assert "    fix on node-1:  ip link set veth-pod-1-1 xdp off" in out
    assert out.index("ERROR") < out.index("warning: veth-pod-1-1") < out.index("CHECKED")


def test_the_json_is_the_stable_object(files: Files) -> None:
    _, out, _ = run(*files(broken()), "--json")
    shown = json.loads(out)
    assert (shown["version"], shown["checked"]["pods"]) == (1, 6)
    assert {"name", "result", "at"} <= shown["checked"]["checks"][0].keys()
    problem = shown["problems"][0]
    assert problem["id"] == "duplicate-address:node-1:4:102:0+node-2:4:106:0"
    fixed = ("since", "until", "state", "also", "certainty")
    assert [problem[name] for name in fixed] == [None, None, "open", [], "certain"]
    assert problem["trace"]["outcome"] == "broken"
    assert problem["where"]["node"] == "node-2"
    assert problem["affects"]["pods"] == [
        "default/pod-1-1",
        "default/pod-1-2",
        "default/pod-1-3",
        "default/pod-2-1",
    ]
    assert problem["check"][0].keys() == {"node", "netns", "command"}


def test_junit_has_a_case_for_each_check(files: Files) -> None:
    _, out, _ = run(*files(broken()), "--junit")
    suites = ElementTree.fromstring(out)
    (suite,) = suites
    cases = {case.get("name"): case for case in suite}
    assert int(suite.get("tests", 0)) == len(cases)
    assert (suite.get("failures"), suite.get("errors")) == ("1", "0")
    (failure,) = cases["addresses"]
    assert (failure.tag, failure.get("type")) == ("failure", "duplicate-address")
    assert "10.1.1.11" in (failure.get("message") or "")
    (warning,) = cases["programs"]
    assert warning.tag == "system-out"
    _, out, _ = run(*files(broken()), "--junit", "--fail-on", "warning")
    assert ElementTree.fromstring(out)[0].get("failures") == "2"


def test_what_counts_as_a_failure_is_the_callers_choice(files: Files) -> None:
    assert run(*files(warned()))[0] == 0
    assert run(*files(warned()), "--fail-on", "warning")[0] == 1
    gap = {"sockets": SectionStatus(1.0, whole=False, reason="no permission")}
    assert run(*files(textbook()[0], **gap))[0] == 0  # a warning about the collector, and nothing undecided


def test_a_check_that_cant_be_decided_is_told_and_counts_where_strict(files: Files) -> None:
    gap = {"addrs": SectionStatus(1.0, whole=False, reason="no permission")}
    options = files(textbook()[0], **gap)
    status, out, _ = run(*options)
    assert status == 0
    assert out.splitlines()[0].endswith("checks undecided.")
    assert "          not judged: node-1: addrs: no permission; node-2: addrs: no permission" in out
    assert run(*options, "--strict")[0] == 1
    _, out, _ = run(*options, "--junit")
    suite = ElementTree.fromstring(out)[0]
    assert int(suite.get("skipped", 0)) > 0
    _, out, _ = run(*options, "--junit", "--strict")
    strict = ElementTree.fromstring(out)[0]
    assert int(strict.get("failures", 0)) + int(strict.get("skipped", 0)) == int(suite.get("skipped", 0))
    idle = [one.get("message") for one in strict.iter("skipped")]
    assert set(idle) == {"nothing to judge"}


@pytest.mark.parametrize("args", [[], ["--state", "none.nvz"], ["--state", __file__], ["--fail-on", "never"]])
def test_bad_input_is_one_line(args: list[str]) -> None:
    status, out, err = run(*args)
    assert (status, out, len(err.splitlines())) == (2, "", 1)


def test_a_node_twice_is_bad_input(files: Files) -> None:
    options = files(textbook()[0])
    status, _, err = run(*options, *options[:2])
    assert (status, err) == (2, "verify: two files hold the state of node 'node-1'\n")


def test_a_fault_of_netviz_itself_is_told_apart(files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError("by zero")

    monkeypatch.setattr(verify, "judged", fail)
    status, _, err = run(*files(textbook()[0]))
    assert (status, err) == (3, "verify: netviz itself failed: ZeroDivisionError: by zero\n")


def test_names_can_do_nothing_to_a_terminal(files: Files) -> None:
    net, made = textbook(1, 3)
    made["node-1"].change("veth-pod-1-1", ifname="\x1b[2Jveth", xdp=2)
    out = run(*files(net))[1] + run(*files(net), "--junit")[1]
    assert "\x1b" not in out
    assert "\\x1b[2Jveth" in out


def test_each_kind_belongs_to_a_check() -> None:
    assert told.CHECK_OF["duplicate-address"] == "addresses"
    assert told.CHECK_OF["no-route"] == "paths"
