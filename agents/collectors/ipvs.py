"""IPVS services and connections of every namespace, from /proc/net/ip_vs and ip_vs_conn, which are there where IPVS is.

The kernel announces no changes; the files are read every `POLL_S` and with each audit.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from functools import partial

from agents.collectors.base import Host, NetnsHandle, Reading
from agents.kernel import Kernel
from netviz.core.model.addr import pack_ip
from netviz.core.model.base import Record
from netviz.core.model.ipvs import IpvsConn, IpvsServer, IpvsService

PATH = "/proc/thread-self/net/ip_vs"
CONN_PATH = "/proc/thread-self/net/ip_vs_conn"
POLL_S = 10.0
PROTOS = {"TCP": 6, "UDP": 17, "SCTP": 132}


def _end(text: str) -> tuple[bytes, int]:
    """Read `0A600001:0050` or `[fd00:0000:...]:0050`."""
    host, _, port = text.rpartition(":")
    addr = pack_ip(host.strip("[]")) if host.startswith("[") else bytes.fromhex(host)
    return addr, int(port, 16)


def _server(words: list[str]) -> IpvsServer:
    addr, port = _end(words[1])
    return IpvsServer(addr, port, words[2].lower(), int(words[3]))


def _service(words: list[str], servers: tuple[IpvsServer, ...]) -> IpvsService:
    scheduler, persistent = words[2], "persistent" in words[3:]
    if words[0] == "FWM":
        return IpvsService(
            fwmark=int(words[1], 16), scheduler=scheduler, persistent=persistent, servers=servers
        )
    addr, port = _end(words[1])
    return IpvsService(
        PROTOS[words[0]], addr, port, scheduler=scheduler, persistent=persistent, servers=servers
    )


def parse_ipvs(lines: Iterable[str]) -> Iterator[IpvsService]:
    """Read the file's lines. Raises: ValueError, LookupError for what isn't in its form."""
    head: list[str] = []
    servers: list[IpvsServer] = []
    for line in lines:
        words = line.split()
        if len(words) >= 3 and words[0] in (*PROTOS, "FWM"):
            if head:
                yield _service(head, tuple(servers))
            head, servers = words, []
        elif len(words) >= 4 and words[0] == "->" and head:
            servers.append(_server(words))
    if head:
        yield _service(head, tuple(servers))


def _host(text: str) -> bytes:
    """Read an address as ip_vs_conn has it: 8 hexadecimal digits, or IPv6 in words."""
    return pack_ip(text) if ":" in text else bytes.fromhex(text)


def parse_conns(lines: Iterable[str]) -> Iterator[IpvsConn]:
    """Read ip_vs_conn's lines; templates of persistent services (client port 0) are no connections. Raises: ValueError."""
    for line in lines:
        words = line.split()
        if len(words) < 7 or words[0] not in PROTOS or words[2] == "0000":
            continue
        caddr, vaddr, daddr = (_host(words[at]) for at in (1, 3, 5))
        cport, vport, dport = (int(words[at], 16) for at in (2, 4, 6))
        yield IpvsConn(PROTOS[words[0]], caddr, cport, vaddr, vport, daddr, dport)


def read_lines(kernel: Kernel, path: str) -> list[str]:
    """Read a file of the namespace that the calling thread is in; nothing where it isn't. Raises: OSError."""
    try:
        with open(kernel.open_file(path)) as file:
            return file.readlines()
    except FileNotFoundError:
        return []


class Ipvs:
    """Collect virtual services and their connections."""

    name = "ipvs"
    sections = ("ipvs", "ipvs_conns")
    poll_s: Mapping[str, float] = {"ipvs": POLL_S, "ipvs_conns": POLL_S}

    def can_run(self, host: Host) -> str | None:
        """Reading a file that may not be there always works."""
        return None

    async def start(self, host: Host) -> None:
        """Nothing to listen to."""

    async def stop(self) -> None:
        """Nothing is open."""

    def attach(self, ns: NetnsHandle) -> None:
        """Nothing to open."""

    def detach(self, ns: NetnsHandle) -> None:
        """Nothing to close."""

    def collect(self, ns: NetnsHandle, sections: Collection[str]) -> Reading:
        """Read all services and connections. Where the kernel has IPVS at all, every namespace has the files.

        Raises: OSError.
        """
        read: dict[str, tuple[Record, ...]] = {}
        gaps = {}
        sources: dict[str, tuple[str, Callable[[list[str]], Iterator[Record]]]] = {
            "ipvs": (PATH, parse_ipvs),
            "ipvs_conns": (CONN_PATH, parse_conns),
        }
        for section, (path, parse) in sources.items():
            if section not in sections:
                continue
            try:
                lines = ns.run(partial(read_lines, ns.kernel, path)) if ns.kernel.exists(path) else []
                read[section] = tuple(parse(lines))
            except (ValueError, LookupError) as err:
                read[section] = ()
                gaps[section] = f"{path} is in a form that isn't known: {err}"
        return Reading(read, gaps)
