"""The stable JSON and the text."""

from __future__ import annotations

import json

import msgspec

from netviz.core.sim.render import render_text, trace_json
from tests.core.sim.build import textbook

STEP = {
    "seq",
    "kind",
    "dev",
    "packet",
    "diff",
    "decision",
    "reason",
    "evidence",
    "why",
    "check",
    "certainty",
    "observed",
}
KINDS = {
    *("origin", "socket", "rule", "route", "neigh", "link_tx", "link_rx", "bridge", "netfilter", "nat"),
    *("conntrack", "encap", "decap", "local_in", "forward", "ttl", "mtu", "rp_filter", "opaque"),
}
PACKET = {"src", "dst", "proto", "sport", "dport", "ttl", "mark", "len", "smac", "dmac", "encap"}


def test_the_shape_is_the_stable_one() -> None:
    state = [{"node": "node-1", "revision": 4, "age_s": 1.5, "complete": True}]
    shown = json.loads(
        msgspec.json.encode(trace_json(textbook()[0].trace("pod-1-1", "pod-2-1", "tcp", 80), state))
    )
    assert list(shown) == [
        "version",
        "flow",
        "disposition",
        "reason",
        "certainty",
        "outcome",
        "headline",
        "branches",
        "state",
        "assumed",
        "largest",
    ]
    assert shown["version"] == 1
    assert shown["flow"] == {
        "from": {"node": "node-1", "netns": "node-1:4:102:0", "pod": "default/pod-1-1", "outside": False},
        "src": "10.1.1.11",
        "sport": 40000,
        "dst": "10.1.2.11",
        "dport": 80,
        "proto": "tcp",
        "len": 60,
        "df": False,
        "service": None,
    }
    assert shown["state"] == state
    branch = shown["branches"][0]
    assert set(branch) == {"probability", "choice", "disposition", "reason", "forward", "reply"}
    assert (branch["probability"], branch["disposition"]) == (1.0, "DELIVERED")
    assert set(branch["reply"]) == {"disposition", "reason", "hops"}
    for hop in branch["forward"]["hops"] + branch["reply"]["hops"]:
        assert set(hop) == {"node", "netns", "pod", "steps"}
        for step in hop["steps"]:
            assert set(step) == STEP
            assert set(step["packet"]) == PACKET
            assert step["kind"] in KINDS
            assert step["why"].endswith(".")
            assert step["observed"] is None


def test_every_decision_has_a_command_to_check_it() -> None:
    shown = trace_json(textbook()[0].trace("pod-1-1", "pod-2-1", "tcp", 80))
    steps = [
        s for hop in shown["branches"][0]["forward"]["hops"] for s in hop["steps"] if s["kind"] != "origin"
    ]
    commands = [step["evidence"].get("command", "") for step in steps]
    assert all(commands), [step["kind"] for step, command in zip(steps, commands, strict=True) if not command]
    assert commands[0] == "nsenter --net=/run/netns/node-1-pod-1-1 ip route get 10.1.2.11 from 10.1.1.11"


def test_a_diff_names_what_changed() -> None:
    shown = trace_json(textbook()[0].trace("pod-1-1", "pod-2-1", "tcp", 80))
    steps = [s for hop in shown["branches"][0]["forward"]["hops"] for s in hop["steps"]]
    diffs = [step["diff"] for step in steps if step["kind"] == "forward"]
    assert diffs == [{"ttl": [64, 63]}, {"ttl": [63, 62]}]


def test_the_text_has_a_line_a_step_and_details_on_demand() -> None:
    trace = textbook()[0].trace("pod-1-1", "pod-2-1", "tcp", 80)
    compact, detailed = render_text(trace), render_text(trace, detailed=True)
    assert compact.splitlines()[1] == "DELIVERED (certain)"
    assert compact.splitlines()[2].startswith("good: default/pod-1-1 reaches pod default/pod-2-1")
    assert "default/pod-2-1" in compact
    assert "check on" not in compact
    assert "check on node-1: nsenter --net=/run/netns/node-1-pod-1-1 ip route get 10.1.2.11" in detailed
    assert "ttl: 64 -> 63" in detailed
