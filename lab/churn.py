"""Churn: changes to a running cluster at a steady rate, of every sort that a busy node sees.

Pods come and go; on the nodes' own namespaces routes, addresses, neighbour entries and links do. The
order follows from a seed. Only what churn has made itself is removed, and all of it at the end.
"""

from __future__ import annotations

import random
import threading
import time
from collections import Counter
from collections.abc import Callable

import msgspec

from lab.cluster import Cluster
from lab.spec import LabError

MAX_EXTRA = 12
_WEIGHTS = {"pod": 6, "route": 6, "addr": 4, "neigh": 4, "link": 3, "mtu": 2}


class ChurnReport(msgspec.Struct):
    """How a churn went: changes made by kind ("pod+", "route-", ...), how long it took, the worst delay.

    `failed` counts changes that a node which died meanwhile could not take.
    """

    changes: int
    failed: int
    elapsed_s: float
    late_s: float
    by_kind: dict[str, int]

    @property
    def rate_per_s(self) -> float:
        """Changes a second as reached."""
        return self.changes / self.elapsed_s if self.elapsed_s else 0.0


class Churn:
    """A run of churn: what it has made and not removed yet, by kind."""

    def __init__(self, cluster: Cluster, seed: int) -> None:
        self._cluster = cluster
        self._random = random.Random(seed)
        self._count = 0
        self._made: dict[str, list[Callable[[], None]]] = {kind: [] for kind in _WEIGHTS}
        self._adders = {
            "pod": self._add_pod,
            "route": self._add_route,
            "addr": self._add_addr,
            "neigh": self._add_neigh,
            "link": self._add_link,
            "mtu": self._change_mtu,
        }

    def step(self) -> str:
        """Make one change and name it. Raises: LabError, OSError when the node is dead."""
        self._cluster.refresh()
        kind = self._random.choices(list(_WEIGHTS), list(_WEIGHTS.values()))[0]
        made = self._made[kind]
        limit = MAX_EXTRA * len(self._cluster.state.nodes)
        if made and self._random.random() < len(made) / limit + 0.25:
            made.pop(self._random.randrange(len(made)))()
            return f"{kind}-"
        self._count += 1
        alive = [name for name, node in self._cluster.state.nodes.items() if node.alive]
        if not alive:
            raise LabError(f"{self._cluster.name}: no node runs")
        made.append(self._adders[kind](self._random.choice(alive), self._count))
        return f"{kind}+"

    def restore(self) -> None:
        """Remove everything that the churn made; what a dead node took along is forgotten."""
        for made in self._made.values():
            while made:
                try:
                    made.pop()()
                except (LabError, OSError, LookupError):
                    continue

    def _in_ipv6(self) -> bool:
        return self._cluster.state.spec.ipv6 and self._random.random() < 0.5

    # -- adding; each returns what removes it

    def _add_pod(self, node: str, number: int) -> Callable[[], None]:
        name = f"churn-{number}"
        self._cluster.add_pod(node, name)
        return lambda: self._cluster.remove_pod(name)

    def _add_route(self, node: str, number: int) -> Callable[[], None]:
        rtnl = self._cluster.rtnl(node)
        via4, via6 = self._cluster.address_of("router"), self._cluster.address_of("router", 6)
        v6 = self._in_ipv6()
        dst = f"fd99:{number & 0xFFFF:x}::/64" if v6 else f"10.99.{number & 255}.0/24"
        metric = 1000 + number
        via = via6 if v6 else via4
        rtnl.add_route(dst, via=via, metric=metric)
        return lambda: self._cluster.rtnl(node).delete_route(dst, via=via, metric=metric)

    def _add_addr(self, node: str, number: int) -> Callable[[], None]:
        rtnl = self._cluster.rtnl(node)
        loopback = rtnl.ifindex("lo")
        v6 = self._in_ipv6()
        cidr = f"fd98::{number & 0xFFFF:x}/128" if v6 else f"10.98.{number >> 8 & 255}.{number & 255}/32"
        rtnl.add_addr(loopback, cidr)
        return lambda: self._cluster.rtnl(node).delete_addr(loopback, cidr)

    def _add_neigh(self, node: str, number: int) -> Callable[[], None]:
        rtnl = self._cluster.rtnl(node)
        nic = rtnl.ifindex("eth0")
        v6 = self._in_ipv6()
        dst = f"fd97::{number & 0xFFFF:x}" if v6 else f"10.97.{number >> 8 & 255}.{number & 255}"
        rtnl.replace_neigh(nic, dst, f"0a:58:00:00:{number >> 8 & 255:02x}:{number & 255:02x}")
        return lambda: self._cluster.rtnl(node).delete_neigh(nic, dst)

    def _add_link(self, node: str, number: int) -> Callable[[], None]:
        rtnl = self._cluster.rtnl(node)
        ifname = f"nvc{number}"
        rtnl.add_veth(ifname, f"nvp{number}", self._cluster.nodes[node].root)
        return lambda: self._cluster.rtnl(node).delete_link(self._cluster.rtnl(node).ifindex(ifname))

    def _change_mtu(self, node: str, number: int) -> Callable[[], None]:
        rtnl = self._cluster.rtnl(node)
        rtnl.set_link(1, mtu=65536 - number % 1000)
        return lambda: self._cluster.rtnl(node).set_link(1, mtu=65536)


def run_churn(
    cluster: Cluster,
    rate_per_s: float,
    seconds: float,
    seed: int = 0,
    stop: threading.Event | None = None,
) -> ChurnReport:
    """Change a cluster at a rate for a time, then remove what was made. `stop` ends it early."""
    run = Churn(cluster, seed)
    counts: Counter[str] = Counter()
    failed = 0
    late = 0.0
    halt = stop or threading.Event()
    started = time.monotonic()
    try:
        for number in range(round(rate_per_s * seconds)):
            ahead = started + number / rate_per_s - time.monotonic()
            late = max(late, -ahead)
            if halt.is_set() or (ahead > 0 and halt.wait(ahead)):
                break
            try:
                counts[run.step()] += 1
            except (LabError, OSError, LookupError):
                failed += 1
        elapsed = time.monotonic() - started
    finally:
        run.restore()
    return ChurnReport(counts.total(), failed, elapsed, late, dict(sorted(counts.items())))
