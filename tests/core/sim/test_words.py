"""Records in words: as the tools of the field write them."""

from __future__ import annotations

import ast
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

import pytest

import netviz.core.sim as sim
from netviz.core.model.addr import pack_ip
from netviz.core.model.l3 import FR_ACT_GOTO, FR_ACT_NOP, FR_ACT_PROHIBIT, Rule
from netviz.core.sim import steps
from netviz.core.sim.seen_at import SeenAt, seen_at
from netviz.core.sim.trace import Trace
from netviz.core.sim.words.iproute import rule_text
from netviz.core.sim.words.show import sentence
from netviz.core.sim.words.step import COMMANDS, NOT_READ, UNKNOWN, WHY, checks
from tests.core.sim.build import textbook
from tests.core.sim.nft import DROP, FORWARD, chain, verdict


@pytest.mark.parametrize(
    ("rule", "text"),
    [
        (Rule(2, 1, src=pack_ip("10.0.0.0"), src_len=8, table_id=100), "1: from 10.0.0.0/8 lookup 100"),
        (Rule(2, 1, src=bytes(4), src_len=8, tos=8, table_id=254), "1: from 0.0.0.0/8 tos 0x08 lookup main"),
        (Rule(2, 1, fwmark=1, fwmask=0xFF, table_id=254), "1: from all fwmark 0x1/0xff lookup main"),
        (Rule(2, 1, fwmark=1, fwmask=0xFFFFFFFF, table_id=254), "1: from all fwmark 0x1 lookup main"),
        (Rule(2, 1, iifname="eth0", invert=True, table_id=7), "1: not from all iif eth0 lookup 7"),
        (
            Rule(2, 1, ip_proto=6, dport=(80, 90), action=FR_ACT_PROHIBIT),
            "1: from all ipproto tcp dport 80-90 prohibit",
        ),
        (Rule(2, 1, l3mdev=True), "1: from all lookup [l3mdev-table]"),
        (Rule(2, 1, table_id=254, suppress_prefixlen=0), "1: from all lookup main suppress_prefixlength 0"),
        (Rule(2, 1, table_id=254, suppress_ifgroup=3), "1: from all lookup main suppress_ifgroup 3"),
        (Rule(2, 1, action=FR_ACT_GOTO, goto=9, uid_range=(5, 6)), "1: from all uidrange 5-6 goto 9"),
        (
            Rule(2, 1, action=FR_ACT_NOP, sport=(16, 16), sport_mask=0xFFF0),
            "1: from all sport 0x10/0xfff0 nop",
        ),
        (
            Rule(10, 1, dscp=2, dscp_mask=6, flowlabel=18, flowlabel_mask=255, table_id=254),
            "1: from all dscp 0x2/0x6 flowlabel 0x12/0xff lookup main",
        ),
    ],
)
def test_policy_rules_read_as_ip_rule_shows_them(rule: Rule, text: str) -> None:
    assert rule_text(rule) == text


KINDS: tuple[Any, ...] = get_args(steps.What)
# Nothing to look at: the packet itself says it, or the state makes no sense.
NO_COMMAND = (steps.Origin, steps.Ttl)
SENSELESS = (steps.Opaque, "state")


def literals(kind: Any, field: str) -> set[str]:
    """The closed list of a field."""
    hint = get_type_hints(kind)[field]
    parts = [hint] if get_origin(hint) is Literal else get_args(hint)
    return {name for part in parts for name in get_args(part)}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_cause_has_a_sentence_and_every_sentence_a_decision(kind: Any) -> None:
    actions, causes = literals(kind, "action"), literals(kind, "cause") - {"", NOT_READ}
    assert causes <= {name for owner, name in WHY if owner is kind}
    for table in (WHY, UNKNOWN, COMMANDS):
        assert {name for owner, name in table if owner is kind} <= actions | causes | {""}


def recorded() -> Iterator[tuple[Any, str, str]]:
    """Each (kind, action, cause) that stands written out in the walk."""
    names = {kind.__name__: kind for kind in KINDS}
    for path in Path(sim.__path__[0]).rglob("*.py"):
        for call in ast.walk(ast.parse(path.read_text())):
            if not isinstance(call, ast.Call) or not isinstance(call.func, ast.Name):
                continue
            given = [one.value if isinstance(one, ast.Constant) else None for one in call.args[:2]]
            if call.func.id in names and given and None not in given:
                yield names[call.func.id], str(given[0]), str(given[1] if len(given) > 1 else "")


def test_what_the_walk_records_has_words_and_a_command() -> None:
    found = set(recorded())
    assert len(found) > 120
    for kind, action, cause in found:
        key = (kind, cause or action)
        assert key in WHY, key
        assert action != "unknown" or key in UNKNOWN, key
        assert kind in NO_COMMAND or key == SENSELESS or key in COMMANDS or (kind, "") in COMMANDS, key


def test_a_step_says_where_the_kernel_would_show_it() -> None:
    """pod-1-1 - cni0 (node-1) ens3 ---- ens3 (node-2) cni0 - pod-2-1, whose node drops what comes for it."""
    net, made = textbook()
    chain(made["node-2"], "forward", (verdict(DROP),), hook=FORWARD, priority=5)
    trace = net.trace("pod-1-1", "pod-2-1", "tcp", 80)
    seen = [(step.kind, seen_at(step)) for hop in trace.branches[0].forward.hops for step in hop.steps]
    places = {kind: place for kind, place in seen if place is not None}
    assert places["link_tx"] == SeenAt("net:net_dev_xmit")
    assert places["link_rx"] == SeenAt("net:netif_receive_skb")
    assert places["route"] == SeenAt("fib:fib_table_lookup")
    assert seen[-1] == ("netfilter", SeenAt("nftables trace", "forward", 5))
    assert {kind for kind, place in seen if place is None} == {"origin", "neigh", "bridge", "forward"}


def test_a_drop_is_seen_by_its_reason() -> None:
    net, made = textbook()
    made["pod-2-1"].change("eth0", flags=0)
    last = net.trace("pod-1-1", "pod-2-1", "tcp", 80).branches[0].forward.hops[-1].steps[-1]
    assert seen_at(last) == SeenAt("skb:kfree_skb", reason=last.reason)


def checks_of(trace: Trace, enter: str = "") -> list[list[dict[str, Any]]]:
    return [checks(step, hop, enter) for hop in trace.branches[0].forward.hops for step in hop.steps]


def test_a_command_is_for_the_machine_where_it_shows_something() -> None:
    """What keeps a silent neighbour silent is looked up there; the entry, where the packet is sent."""
    net, made = textbook()
    made["pod-2-1"].conf4("eth0", arp_ignore=8)
    asked, responder = checks_of(net.trace("pod-1-1", "pod-2-1", "tcp", 80))[-1]
    assert (asked["node"], asked["netns"]) == ("node-2", str(made["node-2"].key))
    assert asked["command"] == "ip neigh get 10.1.2.11 dev cni0"
    assert (responder["node"], responder["netns"]) == ("node-2", str(made["pod-2-1"].key))
    assert responder["command"].endswith("sysctl net.ipv4.conf.eth0.arp_ignore net.ipv4.conf.all.arp_ignore")
    assert responder["command"].startswith("nsenter ")


def test_who_enters_namespaces_in_another_way_sees_that() -> None:
    trace = textbook()[0].trace("pod-1-1", "pod-2-1", "tcp", 80)
    commands = [one["command"] for found in checks_of(trace, "lab exec {name} --") for one in found]
    assert commands[0] == "lab exec node-1-pod-1-1 -- ip route get 10.1.2.11 from 10.1.1.11"
    assert any(command.startswith("lab exec node-2 -- ") for command in commands)
    assert not any("nsenter" in command for command in commands)


def test_a_device_of_any_name_is_nothing_but_a_name_in_a_command() -> None:
    net, made = textbook()
    name = "$(reboot);'"
    made["pod-1-1"].change("eth0", ifname=name)
    trace = net.trace("pod-1-1", "pod-2-1", "tcp", 80)
    commands = [one["command"] for found in checks_of(trace) for one in found if "reboot" in one["command"]]
    assert commands
    for command in commands:
        assert any(name in word for word in shlex.split(command)), command


def test_a_name_that_stands_for_nothing_is_found_when_a_template_is_read() -> None:
    with pytest.raises(AttributeError, match="nexthopp"):
        sentence("To {nexthopp}.", steps.Neighbour)
