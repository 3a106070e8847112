"""The kernel that this runs on, as any user may ask it: in the namespace that the test is in, changing nothing."""

from __future__ import annotations

import errno
import os
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from agents import procfs
from agents.collectors.rtnl import read_links
from agents.collectors.sysctl import read_sysctls
from agents.enter import NetnsThread
from agents.kernel import Kernel, NotNetnsError
from agents.netlink.wire import NETLINK_ROUTE, drain

RTNLGRP_LINK = 1


def test_a_namespaces_file_is_told_from_others() -> None:
    kernel = Kernel()
    fd = kernel.open_netns("/proc/self/ns/net")
    here = kernel.open_here()
    assert os.fstat(fd).st_ino == os.fstat(here).st_ino
    os.close(fd)
    os.close(here)
    with pytest.raises(NotNetnsError, match="is no network namespace") as raised:
        kernel.open_netns("/proc/self/ns/mnt")
    assert raised.value.ident[1] == os.stat("/proc/self/ns/mnt").st_ino
    with pytest.raises(NotNetnsError, match="is no namespace"):
        kernel.open_netns("/etc/hosts")


def test_links_are_those_of_the_own_namespace() -> None:
    with Kernel().open_netlink(NETLINK_ROUTE) as sock:
        assert {(link.ifindex, link.ifname) for link in read_links(sock)} == set(socket.if_nameindex())


def test_a_socket_for_announcements_does_not_block() -> None:
    with Kernel().open_netlink(NETLINK_ROUTE, (RTNLGRP_LINK,), rcvbuf_bytes=4096) as sock:
        assert sock.getblocking() is False
        drain(sock)  # whatever another test did meanwhile
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF) <= 2 * 4096


def test_a_group_that_there_is_not_leaves_no_socket_behind() -> None:
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(OSError, match="Invalid argument"):
        Kernel().open_netlink(NETLINK_ROUTE, (1 << 20,))
    assert len(os.listdir("/proc/self/fd")) == before


@pytest.mark.parametrize("own", [True, False], ids=["own proc", "the common proc"])
def test_settings_are_read_by_an_own_proc_where_one_can_be_had(
    own: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> int:
        raise PermissionError(errno.EPERM, "refused")

    if not own:
        monkeypatch.setattr(procfs, "mount_proc", refuse)
    kernel = Kernel()
    (setting,) = read_sysctls(kernel.open_settings(), ["ipv4/ip_default_ttl", "ipv4/no_such_thing"])
    assert setting.name == "net.ipv4.ip_default_ttl"
    assert setting.value == int(Path("/proc/sys/net/ipv4/ip_default_ttl").read_text())


def test_files_and_symbols() -> None:
    kernel = Kernel()
    assert kernel.exists("/proc/sys/net")
    assert not kernel.exists("/proc/sys/nonsense")
    fd = kernel.open_file("/proc/self/comm")
    assert os.read(fd, 64) == Path("/proc/self/comm").read_bytes()
    os.close(fd)
    assert kernel.has_symbol("register_netdevice")
    assert not kernel.has_symbol("no_such_function_of_any_kernel")


def test_a_table_that_there_is_not_is_an_error() -> None:
    with pytest.raises(OSError, match=r"."):
        Kernel().ask_xtables(socket.AF_INET, 64, bytearray(b"none".ljust(84, b"\0")))


class Door(Kernel):
    """Lets every thread in, without going anywhere."""

    def __init__(self) -> None:
        super().__init__()
        self.entered: list[int] = []

    def enter(self, fd: int) -> None:
        self.entered.append(fd)


@pytest.mark.parametrize("inline", [True, False])
def test_a_thread_comes_back_whatever_happened_inside(inline: bool) -> None:
    door = Door()
    thread = NetnsThread(door, inline=inline)
    home = thread._home
    assert thread.run(77, lambda: thread.run(77, lambda: thread.run(home, lambda: 7))) == 7
    assert door.entered == [77, home, 77, home]
    with pytest.raises(LookupError):
        thread.run(77, lambda: {}["nothing"])
    assert door.entered[4:] == [77, home]
    thread.close()


def test_what_is_no_namespace_cannot_be_entered() -> None:
    with open("/etc/hosts") as file, pytest.raises(OSError, match="Invalid argument"):
        Kernel().enter(file.fileno())


class Trap(Kernel):
    """Lets a thread in, and not out again."""

    entered = 0

    def enter(self, fd: int) -> None:
        self.entered += 1
        if self.entered == 2:
            raise OSError(errno.EPERM, "trapped")


@pytest.mark.parametrize("inline", [True, False])
def test_a_thread_that_cannot_return_does_nothing_more(inline: bool) -> None:
    thread = NetnsThread(Trap(), inline=inline)
    fd = thread.kernel.open_here()
    try:
        for _ in range(2):
            with pytest.raises(OSError, match="cannot return to the own namespace: trapped"):
                thread.run(fd, lambda: 7)
    finally:
        os.close(fd)
        thread.close()


def test_after_its_end_nobody_may_enter() -> None:
    thread = NetnsThread()
    thread.close()
    with pytest.raises(RuntimeError, match="has stopped"):
        thread.run(0, lambda: 7)


def test_only_the_thread_that_made_an_inline_one_may_enter_by_it() -> None:
    thread = NetnsThread(inline=True)
    with ThreadPoolExecutor(1) as another, pytest.raises(RuntimeError, match="only the thread that made"):
        another.submit(thread.run, 0, lambda: 7).result()
    thread.close()
