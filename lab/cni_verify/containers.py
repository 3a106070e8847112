"""The containers of a run: made, attached, detached and removed; what each has got, and what went wrong with that."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lab.cluster import Cluster
from lab.cni.conf import Json, Network
from lab.cni.runtime import Attachment, PluginError, Runtime
from lab.cni_verify import added, remains
from lab.cni_verify.added import Added
from lab.echo import PORT

HOST_PORT = 18080


class Containers:
    """By name: `attached` has all that were handed to the plugins, `added` those of which ADD succeeded.

    `failed` maps ADD and DEL to their complaints; `answers` says what is wrong with ADD's answers. `leases` maps nodes
    to where host-local keeps its own.
    """

    def __init__(
        self, cluster: Cluster, network: Network, runtimes: dict[str, Runtime], leases: dict[str, Path]
    ) -> None:
        self.runtimes = runtimes
        self.attached: dict[str, Attachment] = {}
        self.added: dict[str, Added] = {}
        self.failed: dict[str, list[str]] = {"ADD": [], "DEL": []}
        self.answers: list[str] = []
        self._cluster, self._network, self._leases = cluster, network, leases
        self._number = 0

    def new(self, each: int, nodes: Iterable[str] = ()) -> list[str]:
        """Make containers that nobody has attached, so many on each node; return their names."""
        names = []
        for node in nodes or self.runtimes:
            for _ in range(each):
                self._number += 1
                pod = self._cluster.add_pod(node, f"c{self._number}")
                names.append(pod.name)
                ports: list[Json] = [
                    {"hostPort": HOST_PORT + self._number, "containerPort": PORT, "protocol": proto}
                    for proto in ("tcp", "udp")
                ]
                env = {"IgnoreUnknown": "1", "K8S_POD_NAMESPACE": "default", "K8S_POD_NAME": pod.name}
                self.attached[pod.name] = Attachment(
                    pod.uid,
                    str(self._cluster.netns_of(pod.name)),
                    env,
                    {},
                    ports if self._network.maps_ports else [],
                )
        return names

    def add(self, names: Sequence[str]) -> None:
        """Attach containers at once; where that fails, detach and remove them, as a runtime does."""
        with ThreadPoolExecutor(max(1, len(names))) as pool:
            for name, answer in zip(names, pool.map(self._try_add, names), strict=True):
                if isinstance(answer, str):
                    self.failed["ADD"].append(answer)
                    self.delete([name])
                    continue
                attachment = self.attached[name]
                self.answers += [
                    of(name, text) for text in added.wrong_with(answer, attachment, self._network.version)
                ]
                self.added[name] = added.take(answer, attachment)
        self._write_down(name for name in names if name in self.added)

    def _try_add(self, name: str) -> Json | str:
        try:
            return self.runtime(name).add(self.attached[name])
        except PluginError as error:
            return of(name, str(error))

    def _write_down(self, names: Iterable[str]) -> None:
        """Have the lab know which addresses its pods have."""
        with self._cluster.changing():
            for name in names:
                pod, mine = self._cluster.pod(name), self.added[name]
                pod.ipv4, pod.ipv6 = mine.addresses.get(4, ""), mine.addresses.get(6, "")
                pod.host_ifname = mine.host_ifname

    def delete(self, names: Iterable[str]) -> None:
        """Detach containers and remove them; those that are gone are fine."""
        for name in (one for one in names if one in self.attached):
            self.detach(name)
            self.drop(name)

    def detach(self, name: str) -> None:
        """Detach a container, which may be detached already."""
        try:
            self.runtime(name).delete(self.attached[name])
        except PluginError as error:
            self.failed["DEL"].append(of(name, str(error)))

    def drop(self, name: str) -> None:
        """Remove a container that is detached, unless it is gone already."""
        if name in self._cluster.pods:
            self._cluster.remove_pod(name)
        self.forget(name)

    def forget(self, name: str) -> None:
        """Know no more of a container."""
        self.attached.pop(name, None)
        self.added.pop(name, None)

    def runtime(self, name: str) -> Runtime:
        """The runtime of a container's node."""
        return self.runtimes[self.nodeof(name)]

    def nodeof(self, name: str) -> str:
        netns = self.attached[name].netns
        return next(
            node for node in self.runtimes if netns.startswith(f"{self._cluster.nodes[node].directory}/")
        )

    def staying(self, node: str) -> list[Attachment]:
        """The attachments of a node that are to be kept."""
        return [
            self.attached[name]
            for name in self.added
            if name in self._cluster.pods and self.nodeof(name) == node
        ]

    def twice(self) -> list[str]:
        """Say which addresses several containers have."""
        held: dict[str, list[str]] = {}
        for name, mine in self.added.items():
            for address in mine.addresses.values():
                held.setdefault(address, []).append(f"{name} on {self.nodeof(name)}")
        return [
            f"{address} was given to {' and to '.join(names)}"
            for address, names in held.items()
            if len(names) > 1
        ]

    def there(self) -> dict[str, set[str]]:
        """List what each node has."""
        return {
            name: remains.there(self._cluster.nodes[name].root, leases)
            for name, leases in self._leases.items()
        }


def of(name: str, text: str) -> str:
    """Say of which container or node something is."""
    return f"{name}: {text}"
