"""What a cluster consists of: the specification that it was asked for and the state on disk."""

from __future__ import annotations

import re
from typing import Any

import msgspec

NAME = re.compile(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?")
MAX_NODES = 200
# The kernel's bridge takes 1023 ports; beyond what a /24 holds a node needs a larger pod range, of
# which there are fewer.
MAX_PODS = 1000
MAX_PODS_OF_24 = 250
MAX_NODES_OF_LARGE_RANGES = 15
MAX_SERVICES = 500
PROXIES = ("nftables", "iptables", "both")
RESERVED = frozenset({"fabric", "router", "internet"})


class LabError(Exception):
    """Something that the user of the lab should read; the text is one line."""


class SpecError(LabError):
    """A specification that cannot be built; the text says what is wrong."""


def check_name(what: str, name: str) -> None:
    """Hold a cluster's or pod's name to what files, devices and rules can be named after. Raises: SpecError."""
    if not NAME.fullmatch(name):
        raise SpecError(f"{what} name {name!r}: use up to 40 lower-case letters, digits and dashes")


class ClusterSpec(msgspec.Struct, frozen=True):
    """A cluster to build: `nodes` nodes named node1, node2, ... with `pods` pods each.

    `kind` names the sort of network (`lab.kinds`), without IPv6 where `ipv6` is False; `variant` is one of
    the kind's own, "" its first. `services` counts the services besides the DNS service, which is there with
    them; `proxy` is kube-proxy's mode. `shared_listeners` serves the listeners of a node's pods from one process
    instead of one for each pod; None decides by the number of pods.
    """

    name: str
    nodes: int = 3
    pods: int = 5
    kind: str = "textbook"
    variant: str = ""
    ipv6: bool = True
    services: int = 0
    proxy: str = "nftables"
    shared_listeners: bool | None = None

    def check(self) -> None:
        """Raises: SpecError."""
        check_name("cluster", self.name)
        if not 1 <= self.nodes <= MAX_NODES:
            raise SpecError(f"nodes: from 1 to {MAX_NODES}, not {self.nodes}")
        if not 0 <= self.pods <= MAX_PODS:
            raise SpecError(f"pods: from 0 to {MAX_PODS} on a node, not {self.pods}")

        if not 0 <= self.services <= MAX_SERVICES:
            raise SpecError(f"services: from 0 to {MAX_SERVICES}, not {self.services}")
        if self.proxy not in PROXIES:
            raise SpecError(f"no mode of kube-proxy {self.proxy!r}; there are: {', '.join(PROXIES)}")
        if self.pods > MAX_PODS_OF_24 and self.nodes > MAX_NODES_OF_LARGE_RANGES:
            raise SpecError(
                f"more than {MAX_PODS_OF_24} pods on a node: at most {MAX_NODES_OF_LARGE_RANGES} nodes"
            )

    @property
    def shared(self) -> bool:
        """Whether the pods of a node share the process of their listeners."""
        return self.nodes * self.pods > 100 if self.shared_listeners is None else self.shared_listeners


class Addressed(msgspec.Struct):
    """Something with an IPv4 and an IPv6 address; the latter is "" in a cluster without IPv6."""

    @property
    def families(self) -> tuple[int, ...]:
        """The address families that it has: 4, or 4 and 6."""
        return (4, 6) if self.address(6) else (4,)

    def address(self, family: int) -> str:
        """Return its address of a family."""
        found: str = getattr(self, f"ipv{family}")
        return found


class Pod(Addressed):
    """A pod. `host_index` numbers its addresses in the node's range; `host_port` is one of the node's that
    leads to the pod's port 8080, 0 without; `app` is what it runs: "echo", or "dns" besides;
    `resolv_conf` names its own file of that sort in the cluster's folder, "" is the cluster's.

    Pids are as the node's own /proc numbers them; `app_pid` is 0 where listeners share a process.
    """

    name: str
    node: str
    uid: str
    host_index: int
    ipv4: str
    ipv6: str
    mac: str
    host_ifname: str
    host_port: int = 0
    namespace: str = "default"
    labels: dict[str, str] = {}
    app: str = "echo"
    resolv_conf: str = ""
    pause_pid: int = 0
    app_pid: int = 0


class NodeState(Addressed):
    """A node: number and addresses on the underlay, ranges of its pods, whether it runs, how often it booted."""

    name: str
    index: int
    ipv4: str
    ipv6: str
    mac: str
    pod_cidr4: str
    pod_cidr6: str
    alive: bool = False
    boots: int = 0
    pods: dict[str, Pod] = {}

    def pod_cidr(self, family: int) -> str:
        """Return the range of its pods' addresses of a family."""
        return self.pod_cidr6 if family == 6 else self.pod_cidr4


class Inverse(msgspec.Struct, frozen=True):
    """What undoes one change: the name of a method of `lab.changes.Changes` and the arguments that it is given."""

    op: str
    args: dict[str, bool | int | str]


class FaultState(msgspec.Struct):
    """A fault in effect: its name, what it was applied to, what is needed to undo it exactly, and since when (Unix s)."""

    id: str
    fault: str
    target: dict[str, str]
    undo: list[Inverse]
    at: float = 0.0


class ClusterState(msgspec.Struct):
    """Everything that another process needs to act on a running cluster.

    `services` and `policies` are the API's own objects; `policed` is True once there was a policy; `revision`
    counts what the lists went through.
    """

    spec: ClusterSpec
    nodes: dict[str, NodeState] = {}
    faults: list[FaultState] = []
    services: list[dict[str, Any]] = []
    policies: list[dict[str, Any]] = []
    policed: bool = False
    revision: int = 0
