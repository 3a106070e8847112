"""Network namespaces, who holds them, pods, namespace-wide settings."""

from __future__ import annotations

from typing import Annotated

from netviz.core.model.base import Part, Record
from netviz.core.model.bounds import S64, U32, FileName, Ip, Nsid, PodName, ShortName, Words, one_of
from netviz.core.model.ids import NetnsKey

HolderKind = Annotated[str, one_of("process", "mount", "fd", "veth")]


class Holder(Part, frozen=True, gc=False, order=True):
    """Something that keeps a namespace alive.

    `kind` is "process", "mount", "fd" or "veth" (discovered by its veth peer alone). For a process,
    `pid` is as the collector's /proc numbers it and `name` its comm; for a mount, `name` is its path.
    """

    kind: HolderKind
    name: Words = ""
    pid: U32 = 0


class Resolv(Part, frozen=True, gc=False):
    """What a pod's resolv.conf says: whom it asks for names, in this order, which domains are tried, and the options."""

    nameservers: tuple[Ip, ...] = ()
    search: tuple[PodName, ...] = ()
    options: tuple[PodName, ...] = ()


class Pod(Part, frozen=True, gc=False):
    """The Kubernetes pod whose namespace this is. `source` says how it is known: "cri", "file", or "api" (by its address).

    `resolv` is None where that isn't known.
    """

    name: PodName
    namespace: PodName
    uid: PodName = ""
    pause_pid: U32 = 0
    containers: tuple[PodName, ...] = ()
    labels: dict[Words, Words] = {}
    source: ShortName = ""
    resolv: Resolv | None = None


class Gap(Part, frozen=True, gc=False):
    """A section that couldn't be read whole in this namespace, and why, for people."""

    section: ShortName
    reason: Words


class Netns(Record, frozen=True, gc=False):
    """One namespace: `root` marks the node's own.

    `name` is for people: a bind mount's file name, or "" when it has none. `nsids` maps the nsids
    that this namespace gives to others to their keys, in order of nsid; an nsid whose namespace
    could not be told is left out. `holders` are sorted.
    """

    key: NetnsKey
    name: FileName = ""
    root: bool = False
    holders: tuple[Holder, ...] = ()
    nsids: tuple[tuple[Nsid, NetnsKey], ...] = ()
    pod: Pod | None = None
    gaps: tuple[Gap, ...] = ()


class Sysctl(Record, frozen=True, gc=False):
    """A namespace-wide setting by its dotted name ("net.ipv4.ip_forward", "net.ipv4.conf.all.rp_filter").

    Per-device settings are in `Link.ipv4` and `Link.ipv6`.
    """

    name: FileName
    value: S64

    @property
    def key(self) -> str:
        """The name."""
        return self.name


# Of a refusal: its section when the namespace's own record is meant, its record when it stands for more.
NETNS = "netns"
MORE = "more"


class Refused(Record, frozen=True, gc=False):
    """A record that the collector told and that broke a bound, so that it isn't in its section.

    The reader of the collector's words makes these, not the kernel. `section` is where it would be ("netns"
    for the namespace's own record), `record` its key as text ("" when it has none that can be read), `reason`
    what is wrong with it. It ends when the collector tells that record right or drops it, and with the
    next snapshot.
    """

    section: ShortName
    record: Words
    reason: Words

    @property
    def key(self) -> tuple[str, str]:
        """(section, record)."""
        return (self.section, self.record)

    @property
    def words(self) -> str:
        """Say it in a sentence, for where the section is known."""
        if self.record == MORE:
            return f"{self.reason} cannot be used"
        if self.section == NETNS:
            return f"the namespace's own record cannot be used: {self.reason}"
        return f"the collector's record {self.record or 'without a key'} cannot be used: {self.reason}"
