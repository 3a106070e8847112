"""IPVS services of every namespace, from /proc/net/ip_vs, which is there where IPVS is.

The kernel announces no changes; the file is read every `POLL_S` and with each audit.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping

from agents.collectors.base import Host, NetnsHandle, Reading
from netviz.core.model.addr import pack_ip
from netviz.core.model.ipvs import IpvsServer, IpvsService

PATH = "/proc/thread-self/net/ip_vs"
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


def read_ipvs() -> list[str]:
    """Read the services of the namespace that the calling thread is in. Raises: OSError."""
    try:
        with open(PATH) as file:
            return file.readlines()
    except FileNotFoundError:
        return []


class Ipvs:
    """Collect virtual services."""

    name = "ipvs"
    sections = ("ipvs",)
    poll_s: Mapping[str, float] = {"ipvs": POLL_S}

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
        """Read all services."""
        try:
            return Reading({"ipvs": tuple(parse_ipvs(ns.run(read_ipvs)))})
        except (ValueError, LookupError) as err:
            return Reading({"ipvs": ()}, {"ipvs": f"/proc/net/ip_vs is in a form that isn't known: {err}"})
