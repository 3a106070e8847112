"""Names that anybody chose never reach a terminal or a log raw, whichever command prints them."""

from __future__ import annotations

import logging
import logging.config
import os
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import pytest

from agents.collectors.netns import _as_text
from netviz.core.model.netfilter import (
    NF_DROP,
    NF_FORWARD,
    NFPROTO_IPV4,
    ChainBody,
    NftChain,
    NftRuleBody,
    body_digest,
)
from netviz.core.model.netns import Holder
from netviz.core.plain import PlainFormatter, plain, runnable
from netviz.core.sim.nft.text import list_command
from netviz.core.state.delta import NodeDelta, apply, diff
from netviz.core.state.node import NodeState
from netviz.core.wire.nvz import dump_nvz
from tests.core.sim.build import textbook
from tests.core.sim.nft import daddr, table, verdict

ROOT = Path(__file__).resolve().parents[2]
EVIL = "\x1b]0;x\x07\x1b[2J\r\n\x9b31m\u202e\u2028"


def raw(text: str) -> list[str]:
    """What a terminal would act on in an output; its own line ends aren't."""
    return [line for line in text.split("\n") if not line.isprintable()]


def test_what_is_printable_stays_and_all_else_is_escaped() -> None:
    assert plain("pod-1 ü 漢 /24") == "pod-1 ü 漢 /24"
    assert plain(EVIL) == r"\x1b]0;x\x07\x1b[2J\r\n\x9b31m\u202e\u2028"
    assert plain("a\udcffb") == r"a\udcffb"
    assert plain(plain(EVIL)) == plain(EVIL)


def logged(formatter: logging.Formatter) -> str:
    try:
        raise ValueError(f"bad {EVIL}")
    except ValueError:
        exc_info = sys.exc_info()
    return formatter.format(logging.LogRecord("n", logging.ERROR, "f", 1, "link %s", (f"a{EVIL}",), exc_info))


def test_a_log_record_is_one_line_and_its_traceback_printable() -> None:
    text = logged(PlainFormatter("%(levelname)s: %(message)s"))
    assert not raw(text)
    assert text.startswith(r"ERROR: link a\x1b]0;x")
    assert "Traceback" in text


def test_the_server_s_logs_are_formatted_so() -> None:
    from django.conf import settings

    config = settings.LOGGING
    formatters = {name: config["handlers"][name]["formatter"] for name in config["handlers"]}
    for name in formatters.values():
        made = logging.config.DictConfigurator(config).configure_formatter(dict(config["formatters"][name]))
        assert not raw(logged(made))


def _evil(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, str):
        return names.get(value, value)
    if isinstance(value, dict):
        return {_evil(key, names): _evil(one, names) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_evil(one, names) for one in value]
    return value


def evil_node(state: NodeState) -> NodeState:
    """The same node, with control characters in all names that somebody may choose."""
    names = {}
    for ns in state.netns.values():
        names.update((link.ifname, f"{link.ifname[:3]}{EVIL}") for link in ns.links.values())
        names.update((one.name, f"{one.name}{EVIL}") for one in ns.nft_chains.values())
        names[ns.netns.name] = f"{ns.netns.name}{EVIL}"
    names.pop("", None)
    told = _evil(msgspec.to_builtins(diff(NodeState(state.node), state), builtin_types=(bytes,)), names)
    delta = msgspec.convert(told, NodeDelta, builtin_types=(bytes,))
    netns = [
        msgspec.structs.replace(
            change,
            netns=msgspec.structs.replace(
                change.netns, holders=(Holder("mount", f"/run/{EVIL}"), Holder("process", f"x{EVIL}", 7))
            ),
        )
        for change in delta.netns
        if change.netns is not None
    ]
    return apply(
        NodeState(state.node), msgspec.structs.replace(delta, netns=tuple(netns), kernel=f"6.18{EVIL}")
    )


def command(*argv: str, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *argv],
        cwd=ROOT,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    """The textbook cluster's state files, with a rule that drops, all names evil."""
    net, spaces = textbook()
    table(spaces["node-1"])
    body = ChainBody((NftRuleBody((*daddr("10.1.2.11"), verdict(NF_DROP)), f"c{EVIL}"),))
    net.bodies[body_digest(body)] = body
    spaces["node-1"].add(
        "nft_chains", NftChain(2, "t", "fwd", 1, "filter", NF_FORWARD, body=body_digest(body), handles=(10,))
    )
    cluster = net.cluster()
    found = []
    for name, node in cluster.nodes.items():
        path = tmp_path / f"{name}.nvz"
        path.write_bytes(dump_nvz(evil_node(node), cluster.bodies.values(), 1.0))
        found += ["--state", str(path)]
    return found


@pytest.mark.parametrize("target", ["10.1.2.11", "10.1.2.12", "8.8.8.8", f"no{EVIL}"])
def test_trace_prints_no_name_raw(files: list[str], tmp_path: Path, target: str) -> None:
    env = {
        "NETVIZ_DATABASE_URL": "sqlite:////nonexistent/db.sqlite3",
        "NETVIZ_VAR_DIR": str(tmp_path / "var"),
    }
    done = command("manage.py", "trace", *files, "--from", "10.1.1.11", "--to", target, "-v", "2", **env)
    assert not raw(done.stdout + done.stderr)
    if "no" in target:
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    else:
        assert done.returncode == 0, done.stderr
        assert r"\x1b]0;x" in done.stdout
        assert ("DROPPED" in done.stdout) == (target == "10.1.2.11")


def test_agents_and_lab_print_no_name_raw(tmp_path: Path) -> None:
    for argv in (
        ("agents", "snapshot", "--node", f"n{EVIL}", "--out", str(tmp_path / "a.nvz")),
        ("agents", "snapshot", "--node", "n", "--out", f"{tmp_path}/no{EVIL}/a.nvz"),
        ("agents", "replay", f"{tmp_path}/{EVIL}", "--server", "http://127.0.0.1:1", "--token-file", "none"),
        ("lab", "mend", "--cluster", f"c{EVIL}"),
        ("lab", "exec", "--cluster", f"c{EVIL}", "a", "b"),
    ):
        done = command("-m", *argv)
        assert done.returncode in (1, 2), done
        assert not raw(done.stdout + done.stderr), argv


def test_a_name_that_is_no_text_can_be_told(tmp_path: Path) -> None:
    """A bind mount's name may be any bytes; the collector's words are UTF-8."""
    path = os.fsdecode(os.fsencode(tmp_path) + b"/a\xffb")
    assert _as_text(path).endswith(r"a\xffb")
    msgspec.msgpack.encode(_as_text(path))


def test_commands_name_chains_as_words_of_a_shell() -> None:
    chain = NftChain(NFPROTO_IPV4, "nat", "a;reboot $(id)'")
    assert shlex.split(list_command(chain)) == ["nft", "-a", "list", "chain", "ip", "nat", "a;reboot $(id)'"]
    assert shlex.split(list_command(chain, legacy=True))[-1] == "a;reboot $(id)'"
    assert list_command(NftChain(NFPROTO_IPV4, "nat", "PREROUTING")) == "nft -a list chain ip nat PREROUTING"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        ("sysctl net.ipv4.conf.flannel.1.forwarding", "sysctl net.ipv4.conf.flannel/1.forwarding"),
        (
            "sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0.100.rp_filter=0",
            "sysctl -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.eth0/100.rp_filter=0",
        ),
        ("sysctl -w net.ipv4.ip_forward=1", "sysctl -w net.ipv4.ip_forward=1"),
        ("ip link show dev eth0.100", "ip link show dev eth0.100"),
    ],
)
def test_a_device_with_a_dot_is_written_as_sysctl_takes_it(command: str, expected: str) -> None:
    assert runnable(command) == expected
