"""Namespace-wide settings against what sysctl says."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from agents import procfs
from agents.collectors.sysctl import NODE_PATHS, Sysctls
from tests.live.collector_rig import Namespace, RecordingHost, namespaces, until

pytestmark = pytest.mark.live


def read(ns: Namespace) -> dict[str, int]:
    records = Sysctls().collect(ns.handle, ("sysctls",)).sections["sysctls"]
    return {record.name: record.value for record in records}


def test_values_are_the_namespaces_own() -> None:
    with namespaces(2) as (one, two):
        one.exec(
            "sysctl", "-qw", "net.ipv4.ip_forward=1", "net.ipv4.conf.all.rp_filter=2", "net.ipv6.bindv6only=1"
        )
        first, second = read(one), read(two)
        assert (first["net.ipv4.ip_forward"], second["net.ipv4.ip_forward"]) == (1, 0)
        assert first["net.ipv4.conf.all.rp_filter"] == 2
        assert (first["net.ipv6.bindv6only"], second["net.ipv6.bindv6only"]) == (1, 0)
        assert first["net.ipv4.ip_default_ttl"] == 64
        assert "net.bridge.bridge-nf-call-iptables" in first


@pytest.mark.parametrize("root", [False, True])
def test_every_value_is_what_sysctl_says(root: bool) -> None:
    with namespaces() as (ns,):
        ns.handle.root = root
        values = read(ns)
        assert len(values) > (80 if root else 20)
        said = ns.exec("sysctl", *values)
        assert values == {
            name: int(value) for name, value in (line.split(" = ") for line in said.splitlines())
        }


def test_a_pods_namespace_costs_few_files_and_namespaces_share_their_records() -> None:
    with namespaces(2) as (one, two):
        first, second = (Sysctls().collect(ns.handle, ("sysctls",)).sections["sysctls"] for ns in (one, two))
        assert len(list(first)) * 2 < len(NODE_PATHS)
        assert all(a is b for a, b in zip(first, second, strict=True))


def test_names_are_looked_up_in_an_own_instance_of_proc_that_is_mounted_nowhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(procfs, "NAMESPACES", 2)
    mounts = Path("/proc/self/mountinfo").read_text()
    own = procfs.OwnProc()
    devices = {os.fstat(own.root()).st_dev for _ in range(2)}
    assert len(devices) == 1
    assert os.stat("/proc").st_dev not in devices
    assert os.stat("sys/net/ipv4/ip_forward", dir_fd=own.root())
    assert Path("/proc/self/mountinfo").read_text() == mounts
    own.close()


def test_without_an_own_instance_of_proc_the_common_one_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> int:
        raise PermissionError(errno.EPERM, "refused")

    with namespaces() as (ns,):
        values = read(ns)
        monkeypatch.setattr(procfs, "mount_proc", refuse)
        assert read(ns) == values


async def test_a_turned_setting_is_noticed() -> None:
    with namespaces(2) as (turned, other):
        host = RecordingHost(turned.handle, other.handle)
        collector = Sysctls(look_s=0.05)
        assert collector.can_run(host) is None
        await collector.start(host)
        for ns in (turned, other):
            collector.attach(ns.handle)
        try:
            turned.exec("sysctl", "-qw", "net.ipv4.ip_forward=1")
            await until(lambda: host.dirtied == [(turned.handle.key, "sysctls")])
        finally:
            host.close()
            await collector.stop()
