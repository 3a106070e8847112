"""What the simulator asks of a namespace's settings is what the collector reads there."""

from __future__ import annotations

import re
from pathlib import Path

from agents.collectors.sysctl import NODE_PATHS, POD_PATHS

SIM = Path(__file__).resolve().parents[2] / "netviz/core/sim"
# What is read from the device's own configuration or only named in a command to check by hand.
NAME = re.compile(r'"net\.([a-z0-9_.-]+)"')
COMBINED = re.compile(r'ipv4_(?:or|max)\(ns, link, "([a-z_]+)"\)')
ALL = re.compile(r'conf_all\(ns, "([a-z_]+)"(?:, (6))?\)')


def asked() -> set[str]:
    text = "".join(path.read_text() for path in SIM.rglob("*.py"))
    return (
        {name.replace(".", "/") for name in NAME.findall(text)}
        | {f"ipv4/conf/all/{field}" for field in COMBINED.findall(text)}
        | {f"ipv{family or 4}/conf/all/{field}" for field, family in ALL.findall(text)}
    )


def test_the_simulator_asks_for_nothing_that_is_not_read() -> None:
    names = asked()
    assert {"ipv4/conf/all/rp_filter", "ipv6/conf/all/proxy_ndp", "ipv4/icmp_echo_ignore_all"} <= names
    assert names <= set(POD_PATHS)


def test_a_pods_settings_are_some_of_the_nodes() -> None:
    assert set(POD_PATHS) <= set(NODE_PATHS)
    assert len(set(POD_PATHS)) == len(POD_PATHS)
