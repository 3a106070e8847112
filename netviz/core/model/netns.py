"""Network namespaces, who holds them, pods, namespace-wide settings."""

from __future__ import annotations

from netviz.core.model.base import Part, Record
from netviz.core.model.ids import NetnsKey


class Holder(Part, frozen=True, gc=False, order=True):
    """Something that keeps a namespace alive.

    `kind` is "process", "mount", "fd" or "veth" (nobody but a veth peer betrays it). For a process,
    `pid` is as the collector's /proc numbers it and `name` its comm; for a mount, `name` is its path.
    """

    kind: str
    name: str = ""
    pid: int = 0


class Pod(Part, frozen=True, gc=False):
    """The Kubernetes pod whose namespace this is. `source` says how it is known: "cri" or "file"."""

    name: str
    namespace: str
    uid: str = ""
    pause_pid: int = 0
    containers: tuple[str, ...] = ()
    labels: dict[str, str] = {}
    source: str = ""


class Gap(Part, frozen=True, gc=False):
    """A section that couldn't be read whole in this namespace, and why, for people."""

    section: str
    reason: str


class Netns(Record, frozen=True, gc=False):
    """One namespace: `root` marks the node's own.

    `name` is for people: a bind mount's file name, or "" when it has none. `nsids` maps the nsids
    that this namespace gives to others to their keys, in order of nsid; an nsid whose namespace
    could not be told is left out. `holders` are sorted.
    """

    key: NetnsKey
    name: str = ""
    root: bool = False
    holders: tuple[Holder, ...] = ()
    nsids: tuple[tuple[int, NetnsKey], ...] = ()
    pod: Pod | None = None
    gaps: tuple[Gap, ...] = ()


class Sysctl(Record, frozen=True, gc=False):
    """A namespace-wide setting by its dotted name ("net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter").

    Per-device settings are in `Link.ipv4` and `Link.ipv6`.
    """

    name: str
    value: int

    @property
    def key(self) -> str:
        """The name."""
        return self.name
