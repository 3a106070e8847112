"""The namespace-wide settings that forwarding depends on, from /proc/sys/net.

Values of single devices come with their links. Here are the namespace's own, and those of `conf.all`,
which many device settings are combined with. A setting that the kernel lacks is left out: the
simulator knows what the kernel does without it.

Each file costs ten microseconds (`procfs` keeps it at that). So a pod's namespace is asked only for what decides the
path of a packet or its answer; the node's own, where administrators turn the rest, for everything, also
`conf.default`, which new devices inherit. Values are mostly the same everywhere, and so are the records.

The kernel announces few changes, so finding them is left to the runner's audit. The few that people
turn (`WATCHED`) are kept open and looked at every `LOOK_S`, which takes a microsecond each; when one
moved, all are read.
"""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from itertools import groupby

from agents.collectors.base import Host, NetnsHandle, Reading
from agents.collectors.watched import WatchedFiles
from agents.kernel import Kernel
from netviz.core.model.devconf import Ipv4Conf, Ipv6Conf
from netviz.core.model.netns import Sysctl

LOOK_S = 2.0
ROOT = "sys/net"  # below proc's root
WATCHED = ("ipv4/ip_forward", "ipv4/conf/all/rp_filter", "ipv6/conf/all/forwarding")

_SINGLE = (
    "ipv4/fib_multipath_hash_fields",
    "ipv4/fib_multipath_hash_policy",
    "ipv4/fib_multipath_use_neigh",
    "ipv4/fwmark_reflect",
    "ipv4/icmp_echo_ignore_all",
    "ipv4/icmp_echo_ignore_broadcasts",
    "ipv4/icmp_errors_use_inbound_ifaddr",
    "ipv4/icmp_ratelimit",
    "ipv4/icmp_ratemask",
    "ipv4/ip_default_ttl",
    "ipv4/ip_early_demux",
    "ipv4/ip_forward",
    "ipv4/ip_forward_use_pmtu",
    "ipv4/ip_no_pmtu_disc",
    "ipv4/ip_nonlocal_bind",
    "ipv4/ip_unprivileged_port_start",
    "ipv4/raw_l3mdev_accept",
    "ipv4/tcp_fwmark_accept",
    "ipv4/tcp_l3mdev_accept",
    "ipv4/udp_l3mdev_accept",
    "ipv6/auto_flowlabels",
    "ipv6/bindv6only",
    "ipv6/fib_multipath_hash_fields",
    "ipv6/fib_multipath_hash_policy",
    "ipv6/flowlabel_reflect",
    "ipv6/fwmark_reflect",
    "ipv6/icmp/echo_ignore_all",
    "ipv6/icmp/echo_ignore_anycast",
    "ipv6/icmp/echo_ignore_multicast",
    "ipv6/ip_nonlocal_bind",
    "bridge/bridge-nf-call-arptables",
    "bridge/bridge-nf-call-ip6tables",
    "bridge/bridge-nf-call-iptables",
    "bridge/bridge-nf-filter-pppoe-tagged",
    "bridge/bridge-nf-filter-vlan-tagged",
    "bridge/bridge-nf-pass-vlan-input-dev",
    "ipv4/vs/conntrack",
    "netfilter/nf_conntrack_checksum",
    "netfilter/nf_conntrack_max",
    "netfilter/nf_conntrack_tcp_be_liberal",
    "netfilter/nf_conntrack_tcp_loose",
)
# Of a device's settings, those that aren't files of its conf directory.
_NOT_FILES = {"mtu6"}
_CONF = tuple(
    f"{family}/conf/{scope}/{field}"
    for family, conf in (("ipv4", Ipv4Conf), ("ipv6", Ipv6Conf))
    for scope in ("all", "default")
    for field in conf.__struct_fields__
    if field not in _NOT_FILES
)
# What the node's own namespace is asked for, and what every other one is.
NODE_PATHS = _SINGLE + _CONF
POD_PATHS = (
    "ipv4/conf/all/accept_local",
    "ipv4/conf/all/arp_announce",
    "ipv4/conf/all/arp_filter",
    "ipv4/conf/all/arp_ignore",
    "ipv4/conf/all/ignore_routes_with_linkdown",
    "ipv4/conf/all/proxy_arp",
    "ipv4/conf/all/route_localnet",
    "ipv4/conf/all/rp_filter",
    "ipv4/conf/all/send_redirects",
    "ipv4/conf/all/src_valid_mark",
    "ipv4/fib_multipath_hash_policy",
    "ipv4/icmp_echo_ignore_all",
    "ipv4/icmp_errors_use_inbound_ifaddr",
    "ipv4/icmp_ratelimit",
    "ipv4/icmp_ratemask",
    "ipv4/ip_default_ttl",
    "ipv4/ip_forward",
    "ipv4/ip_no_pmtu_disc",
    "ipv4/ip_nonlocal_bind",
    "ipv4/tcp_l3mdev_accept",
    "ipv4/udp_l3mdev_accept",
    "ipv4/vs/conntrack",
    "ipv6/bindv6only",
    "ipv6/conf/all/forwarding",
    "ipv6/conf/all/proxy_ndp",
    "ipv6/fib_multipath_hash_policy",
    "ipv6/icmp/echo_ignore_all",
    "bridge/bridge-nf-call-arptables",
    "bridge/bridge-nf-call-ip6tables",
    "bridge/bridge-nf-call-iptables",
    "netfilter/nf_conntrack_max",
    "bridge/bridge-nf-filter-vlan-tagged",
)

# The records that were made, for namespaces mostly share their values.
_made: dict[tuple[str, bytes], Sysctl] = {}
_MAX_MADE = 4096


def read_sysctls(proc: int, paths: Iterable[str]) -> list[Sysctl]:
    """Read the settings at `paths`, sorted by directory, of the namespace that the calling thread is in.

    `proc` is the open root of a proc file system.

    A setting that the kernel lacks is left out. Raises: OSError.
    """
    found = []
    for family, members in groupby(paths, key=_family):
        try:
            where = os.open(f"{ROOT}/{family}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=proc)
        except FileNotFoundError:
            continue
        try:
            for path in members:
                if said := _read(where, path[len(family) + 1 :]):
                    found.append(_made.get((path, said)) or _make(path, said))
        finally:
            os.close(where)
    return found


def _family(path: str) -> str:
    return path[: path.index("/")]


def _make(path: str, said: bytes) -> Sysctl:
    if len(_made) >= _MAX_MADE:
        _made.clear()
    made = _made[path, said] = Sysctl(name="net." + path.replace("/", "."), value=int(said))
    return made


def _read(directory: int, path: str) -> bytes:
    """Read one file, relative to its family's directory: what leads there is looked up once so."""
    try:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC, dir_fd=directory)
    except FileNotFoundError:
        return b""
    try:
        return os.read(file, 64)
    finally:
        os.close(file)


def _open_watched(kernel: Kernel) -> list[int]:
    proc, files = kernel.open_settings(), []
    for path in WATCHED:
        try:
            files.append(os.open(f"{ROOT}/{path}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc))
        except FileNotFoundError:  # a kernel without IPv6
            continue
    return files


class Sysctls(WatchedFiles):
    """Collect namespace-wide settings."""

    name = "sysctl"
    sections = ("sysctls",)
    poll_s: Mapping[str, float] = {}

    def __init__(self, *, look_s: float = LOOK_S) -> None:
        super().__init__("sysctls", look_s)

    def can_run(self, host: Host) -> str | None:
        """Look for the directory."""
        return None if host.root.kernel.exists(f"/proc/{ROOT}") else f"/proc/{ROOT} is not there"

    def open_files(self, ns: NetnsHandle) -> list[int]:
        """Open the watched settings."""
        return ns.run(lambda: _open_watched(ns.kernel))

    def said(self, files: list[int]) -> object:
        """The watched settings' values."""
        return [os.pread(file, 64, 0) for file in files]

    def collect(self, ns: NetnsHandle, sections: Collection[str]) -> Reading:
        """Read the settings that count in this namespace."""
        paths = NODE_PATHS if ns.root else POD_PATHS
        return Reading({"sysctls": ns.run(lambda: read_sysctls(ns.kernel.open_settings(), paths))})
