"""What a collector is, and what the runner gives it.

A collector reads one source (rtnetlink, conntrack, nf_tables, ...) in every namespace of the node and
fills some of the state's sections. The runner owns the state, the clock and the order of things:

1. `can_run(host)` once: None, or the reason (one line, for people) why this source cannot be read
   here. The collector is then left out and its sections are marked not whole with that reason.
2. `start(host)` once, before any namespace. (`snapshot`, which hears of no changes, calls none of `start`,
   `attach` and `stop`.)
3. For each namespace: `attach(ns)`: open event
   sockets and give them to `host.add_reader`. Then `collect(ns, sections)` in a worker thread that
   this collector has for itself: dump, decode and return a `Reading`. The runner compares it with
   the state and sends the difference.
4. When events come: either say exactly what changed with `host.changed(NetnsDelta)` (cheap, at once),
   or say `host.dirty(ns, section)`: the runner calls `collect` again after a few milliseconds, never
   more often than ten times what that section's last read cost. What `host.changed` reports while a
   `collect` is under way is folded in again on top of its result, so a slow dump never undoes
   an event. When events were lost: `host.lost(ns, section, n)`: counted, and read again.
5. `detach(ns)` when the namespace has ended (never while its `collect` runs): close every descriptor of it AT ONCE, since an open
   socket or namespace file keeps a namespace (and its veth pairs) alive.
6. `stop()` once: close everything.

Everything but `collect` runs on the event loop's thread and must be quick. Every section is also read
again by the audit (each 60 s, spread over the namespaces) and compared; instead, a section named in
`poll_s` is read each so many seconds because its kernel source announces too little. The whole collector may
use 0.5 % of a core when 100 namespaces idle, so poll rarely.

A small one:

    class BridgeVlans:
        name = "vlans"
        sections = ("vlans",)
        poll_s: Mapping[str, float] = {}

        def can_run(self, host: Host) -> str | None:
            return None

        async def start(self, host: Host) -> None:
            self.host = host

        async def stop(self) -> None: ...

        def attach(self, ns: NetnsHandle) -> None:
            sock = ns.open_netlink(NETLINK_ROUTE, groups=(RTNLGRP_BRVLAN,))
            self.host.add_reader(ns, sock, lambda: self.on_event(ns, sock))

        def on_event(self, ns: NetnsHandle, sock: socket.socket) -> None:
            try:
                sock.recv(65536)
            except BlockingIOError:
                return
            except OSError as err:  # ENOBUFS: the kernel dropped events
                self.host.lost(ns, "vlans", 1)
            self.host.dirty(ns, "vlans")

        def detach(self, ns: NetnsHandle) -> None: ...  # add_reader's sockets are closed by the runner

        def collect(self, ns: NetnsHandle, sections: Collection[str]) -> Reading:
            return Reading({"vlans": read_vlans(ns)})
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import msgspec

from agents.bodies import EncodedBody
from agents.enter import NetnsThread
from agents.kernel import Kernel
from netviz.core.model.base import Record
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netns import Holder, Pod
from netviz.core.state.delta import NetnsDelta

T = TypeVar("T")


class Reading(msgspec.Struct, frozen=True, gc=False):
    """What `collect` read: whole sections, and the sections it could not read whole, with the reason.

    A section that was asked for and is in neither is left as it was. `bodies` are the netfilter
    bodies that the records refer to, by digest. `pod`, where set, says which pod the namespace is (None:
    none): for the one collector that knows, whose `sections` are empty and whose `collect` is
    nevertheless called once for each namespace.
    """

    sections: Mapping[str, Iterable[Record]]
    gaps: Mapping[str, str] = {}
    bodies: Mapping[bytes, EncodedBody] = {}
    pod: Pod | msgspec.UnsetType | None = msgspec.UNSET


class NetnsHandle:
    """One namespace of the node while it lives.

    `fd` is an open nsfs file, or -1 for a namespace discovered by its veth peer alone: such a handle
    cannot be entered, `run` and `open_netlink` raise FileNotFoundError, and only the rtnl collector
    gets to see it. `holders` is as in `Netns`; `pids` are all processes in it that /proc showed at the
    last look, and `infra_pid` the one that holds it open for others: the pause process if there is
    one, else the lowest pid, 0 for none.
    """

    def __init__(self, key: NetnsKey, fd: int, thread: NetnsThread, *, root: bool, name: str = "") -> None:
        self.key = key
        self.fd = fd
        self.root = root
        self.name = name
        self.holders: tuple[Holder, ...] = ()
        self.pids: tuple[int, ...] = ()
        self.infra_pid = 0
        self._thread = thread

    @property
    def kernel(self) -> Kernel:
        """What to ask, inside `run`, for all that is the namespace's own."""
        return self._thread.kernel

    def run(self, fn: Callable[[], T]) -> T:
        """Run `fn` inside the namespace and wait for it: see NetnsThread.

        Only for what needs to be inside (opening a socket, reading /proc/sys/net): all that may not enter
        by themselves wait for one thread. Raises: what `fn` raises; OSError when the namespace cannot be entered.
        """
        if self.fd < 0:
            raise FileNotFoundError(f"{self.key} cannot be entered")
        return self._thread.run(self.fd, fn)

    def open_netlink(self, proto: int, groups: Sequence[int] = (), *, rcvbuf_bytes: int = 0) -> socket.socket:
        """Open a netlink socket inside the namespace; it stays bound to it.

        With `groups` (numbers, not masks) it is subscribed and non-blocking, for events; without, it
        blocks for at most 10 s, for requests. The caller closes it. Raises: OSError.
        """
        return self.run(lambda: self.kernel.open_netlink(proto, groups, rcvbuf_bytes=rcvbuf_bytes))

    def duplicate(self) -> NetnsHandle:
        """Hold the namespace once more, for who works in it on another thread; closed by whoever asked."""
        fd = os.dup(self.fd) if self.fd >= 0 else -1
        return NetnsHandle(self.key, fd, self._thread, root=self.root, name=self.name)

    def close(self) -> None:
        """Let go of the namespace (the runner does, when it has ended)."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


class Host(Protocol):
    """What the runner does for collectors. On the event loop's thread only, unless said otherwise."""

    @property
    def node(self) -> str:
        """The node's name."""
        ...

    @property
    def proc(self) -> str | None:
        """Where the node's processes are seen (`--proc`), None with `--no-proc`."""
        ...

    @property
    def root(self) -> NetnsHandle:
        """The node's own namespace. Any thread."""
        ...

    def namespaces(self) -> list[NetnsHandle]:
        """Every namespace known now."""
        ...

    def section(self, key: NetnsKey, section: str) -> Mapping[Any, Any]:
        """One section as the state has it now; empty when unknown."""
        ...

    def lookup(self, key: NetnsKey, section: str, record_key: Any) -> Any:
        """One record as the state has it now, None when there is none."""
        ...

    def changed(self, delta: NetnsDelta) -> None:
        """Fold a change in and send it (coalesced, about 10 ms). Ignored for namespaces that are gone."""
        ...

    def dirty(self, ns: NetnsHandle, section: str) -> None:
        """Ask for the section to be collected again soon. Cheap; call it as often as events come."""
        ...

    def settle(self, ns: NetnsHandle, section: str) -> None:
        """Ask for the section to be compared with the kernel about a second later, when events that were
        folded in directly may have had silent consequences. Cheap, and rarer than `dirty`."""
        ...

    def lost(self, ns: NetnsHandle, section: str, count: int = 1) -> None:
        """Count events that the kernel or the collector dropped, and collect the section again."""
        ...

    def shed(self, section: str, count: int) -> None:
        """Count changes left out on purpose under load."""
        ...

    def made_good(self, section: str, count: int) -> None:
        """Say that the state has, by a whole read, what so many of the changes left out would have told."""
        ...

    def look_for_namespaces(self) -> None:
        """Say that a namespace may have come or gone."""
        ...

    def nsids_changed(self, ns: NetnsHandle) -> None:
        """Say that the numbers which `ns` gives to other namespaces may have changed."""
        ...

    def set_pod(self, key: NetnsKey, pod: Pod | None) -> None:
        """Say which pod a namespace is."""
        ...

    def set_trouble(self, source: str, reason: str) -> None:
        """Say in the node's status that a source cannot be read, in one line, or with "" that it can again."""
        ...

    def add_reader(self, ns: NetnsHandle, sock: socket.socket, on_readable: Callable[[], None]) -> None:
        """Call `on_readable` when the socket can be read. The runner unregisters and closes the socket
        when the namespace ends or the collector stops."""
        ...

    def remove_reader(self, ns: NetnsHandle, sock: socket.socket) -> None:
        """Unregister and close a socket early."""
        ...

    def call_soon(self, fn: Callable[[], None]) -> None:
        """Run `fn` on the loop. Any thread."""
        ...

    def call_at_tick(self, period_s: float, fn: Callable[[], None]) -> None:
        """Run `fn` at the next whole multiple of a period, together with all else that goes by the clock."""
        ...

    def call_later(self, delay_s: float, fn: Callable[[], None]) -> None:
        """Run `fn` on the loop after a delay; nothing runs after `stop`."""
        ...


class Collector(Protocol):
    """One source. See the module's text for who calls what, when and on which thread."""

    @property
    def name(self) -> str:
        """Short, for logs."""
        ...

    @property
    def sections(self) -> tuple[str, ...]:
        """The state's sections that it fills; a class attribute will do."""
        ...

    @property
    def poll_s(self) -> Mapping[str, float]:
        """Seconds between readings of sections whose source announces too little."""
        ...

    def can_run(self, host: Host) -> str | None:
        """Return None, or in one line why this source cannot be read here."""
        ...

    async def start(self, host: Host) -> None:
        """Get ready; no namespace is attached yet. May start tasks of its own that `stop` ends."""
        ...

    async def stop(self) -> None:
        """Close everything."""
        ...

    def attach(self, ns: NetnsHandle) -> None:
        """Begin to listen in a namespace. Called before its first `collect`. Raises: OSError."""
        ...

    def detach(self, ns: NetnsHandle) -> None:
        """Forget a namespace and close every descriptor of it."""
        ...

    def collect(self, ns: NetnsHandle, sections: Collection[str]) -> Reading:
        """Read whole sections of one namespace; on this collector's own thread. Raises: OSError."""
        ...
