"""Which namespace does an nsid mean? And which namespaces are discovered by a veth peer alone?

An nsid is a number that one namespace gives to another when a link points there. `RTM_GETNSID` asks
"by which number do you know this namespace?", so each namespace is asked about the others until the
numbers that its links use are explained. A number that stays unexplained is a namespace that nobody
showed us. It is known by the number that the node's own namespace gives it (`NetnsKey.dev` 0),
and read through the node's own namespace as far as the kernel allows.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator, Mapping

from agents.collectors.base import NetnsHandle
from agents.enter import NetnsThread
from agents.ledger import Ledger
from agents.netlink.nsid import get_nsid, translate_nsid
from agents.netlink.wire import NETLINK_ROUTE
from netviz.core.model.ids import NetnsKey
from netviz.core.model.netns import Holder
from netviz.core.state.uplink import leads_outside


class Relations:
    """The nsids of all namespaces. Works on the ledger's links; on the event loop's thread.

    `unexplained` holds, for each namespace, the nsids of its links that mean no open namespace.
    """

    def __init__(self, ledger: Ledger, root: NetnsHandle, thread: NetnsThread) -> None:
        self._ledger = ledger
        self._root = root
        self._thread = thread
        self._candidates: dict[NetnsKey, int] = {}
        self._explained: dict[NetnsKey, frozenset[int]] = {}
        self._maps: dict[NetnsKey, dict[int, NetnsKey]] = {}
        self._discovers: dict[NetnsKey, set[NetnsKey]] = {}
        self.discovered: dict[NetnsKey, NetnsHandle] = {}
        self.unexplained: dict[NetnsKey, frozenset[int]] = {}

    def set_namespaces(self, handles: Iterable[NetnsHandle]) -> None:
        """Say which namespaces are open now, likeliest target of a veth first."""
        candidates = {ns.key: ns.fd for ns in handles}
        if not self._candidates.keys() <= candidates.keys():  # what was explained by one that ended, isn't
            self._explained.clear()
        self._candidates = candidates

    def forget(self, ns: NetnsHandle) -> None:
        """Forget a namespace that ended, or whose nsids changed."""
        self._explained.pop(ns.key, None)
        self._maps.pop(ns.key, None)
        self._discovers.pop(ns.key, None)
        self.unexplained.pop(ns.key, None)

    def wanted(self, key: NetnsKey) -> frozenset[int]:
        """Return the nsids that a namespace's links use."""
        links = self._ledger.section(key, "links").values()
        return frozenset(link.link_nsid for link in links if link.link_nsid is not None)

    def update(self, ns: NetnsHandle) -> None:
        """Explain the namespace's nsids and note them in the ledger. Raises: OSError."""
        wanted = self.wanted(ns.key)
        if self._explained.get(ns.key) == wanted:
            return
        known = {n: k for n, k in self._maps.get(ns.key, {}).items() if k in self._candidates}
        self._maps[ns.key] = known
        discovered: dict[int, NetnsKey] = {}
        if not wanted <= known.keys():
            # What was read through the root's socket has the root's numbers.
            with (self._root if ns.fd < 0 else ns).open_netlink(NETLINK_ROUTE) as sock:
                self._explain(sock, wanted, known)
                inside = wanted - known.keys() - self._outside(ns)
                if inside and ns.fd >= 0:
                    discovered = dict(self._discovered_by(ns, sock, inside, known))
        self._discovers[ns.key] = set(discovered.values())
        missing = frozenset(wanted - known.keys())
        if missing:
            self.unexplained[ns.key] = missing
        else:
            self.unexplained.pop(ns.key, None)
        explained = {**known, **discovered}
        self._ledger.set_nsids(ns.key, {n: explained[n] for n in wanted & explained.keys()})
        if missing or discovered:
            self._explained.pop(ns.key, None)
        else:
            self._explained[ns.key] = wanted

    def _outside(self, ns: NetnsHandle) -> set[int]:
        """The nsids behind the node's own uplinks: what is there isn't the node's."""
        if ns is not self._root:
            return set()
        addrs = self._ledger.section(ns.key, "addrs").values()
        return {
            link.link_nsid
            for link in self._ledger.section(ns.key, "links").values()
            if link.link_nsid is not None and leads_outside(link, addrs)
        }

    def _explain(self, sock: socket.socket, wanted: frozenset[int], known: dict[int, NetnsKey]) -> None:
        mapped = set(known.values())
        for key, fd in self._candidates.items():
            if wanted <= known.keys():
                return
            if key in mapped:
                continue
            nsid = get_nsid(sock, fd)
            if nsid is not None:
                known[nsid] = key

    def _discovered_by(
        self, ns: NetnsHandle, sock: socket.socket, missing: Iterable[int], known: Mapping[int, NetnsKey]
    ) -> Iterator[tuple[int, NetnsKey]]:
        if ns is self._root:
            for nsid in missing:
                yield nsid, NetnsKey(ns.key.node, 0, nsid)
            return
        root_nsid = next((n for n, key in known.items() if key == self._root.key), None)
        if root_nsid is None:
            return
        for nsid in missing:
            found = translate_nsid(sock, nsid, root_nsid)
            if found is not None:
                yield nsid, NetnsKey(ns.key.node, 0, found)

    def discover(self) -> tuple[list[NetnsHandle], list[NetnsHandle]]:
        """Return the namespaces discovered since the last call, and those that nothing points into any more."""
        named = {key for keys in self._discovers.values() for key in keys}
        added = []
        for key in sorted(named - self.discovered.keys()):
            handle = NetnsHandle(key, -1, self._thread, root=False)
            handle.holders = (Holder("veth"),)
            self.discovered[key] = handle
            added.append(handle)
        gone = [self.discovered.pop(key) for key in self.discovered.keys() - named]
        return added, gone
