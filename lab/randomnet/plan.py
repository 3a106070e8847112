"""What the generator knows while it makes a network: who has which address, and what is worth sending to."""

from __future__ import annotations

import random

import msgspec

from lab.randomnet.model import FABRIC, OUTSIDE, Item, Place, Probe

OUTSIDE4, OUTSIDE6 = "198.51.100.10", "2001:db8:100::10"
UNDERLAY4, UNDERLAY6 = "172.30.0.0/24", "fd30::/64"
PODS4, PODS6 = "10.244.0.0/16", "fd44::/16"


class Pod(msgspec.Struct):
    """A planned pod. `how` is its attachment: "bridge", "routed", "macvlan", "ptp" or "stretched"."""

    name: str
    node: str
    how: str
    ipv4: str
    ipv6: str
    mac: str
    host: str


class Node(msgspec.Struct):
    """A planned node."""

    name: str
    index: int
    ipv4: str
    ipv6: str
    mac: str
    pods: list[Pod] = []

    @property
    def cidr4(self) -> str:
        """The range of its pods."""
        return f"10.244.{self.index}.0/24"

    @property
    def cidr6(self) -> str:
        """The range of its pods."""
        return f"fd44:{self.index}::/64"

    @property
    def gateway4(self) -> str:
        """The bridge's address."""
        return f"10.244.{self.index}.1"

    @property
    def gateway6(self) -> str:
        """The bridge's address."""
        return f"fd44:{self.index}::1"


class Target(msgspec.Struct, frozen=True):
    """Something worth sending to. Empty fields are open; `src` names the sender's namespace.

    `item` counts what was planned before it: those with the same count are there for the same reason.
    """

    dst: str
    proto: str = ""
    dport: int = 0
    src: str = ""
    sport: int = 0
    mark: int = 0
    tos: int = 0
    ttl: int = 0
    established: bool = False
    dev: str = ""
    item: int = 0


class Plan:
    """A network in the making."""

    def __init__(self, seed: int) -> None:
        self.seed = seed
        self.rng = random.Random(seed)
        self.nodes: list[Node] = []
        self.overlay = ""
        self.items: list[Item] = []
        self.targets: list[Target] = []
        self.probes: list[Probe] = []
        self.serial = 0

    def add(self, feature: str, at: str, **config: object) -> None:
        """Add an item."""
        self.items.append(msgspec.convert({"feature": feature, "at": at, **config}, Item, strict=True))

    def aim(self, dst: str, **more: object) -> None:
        """Note something worth sending to."""
        target = {"dst": dst, "item": len(self.items) + self.serial, **more}
        self.targets.append(msgspec.convert(target, Target, strict=True))

    def unique(self) -> int:
        """Count up: a number that no other item of this network has."""
        self.serial += 1
        return self.serial

    def chance(self, probability: float) -> bool:
        """Decide at random."""
        return self.rng.random() < probability

    @property
    def pods(self) -> list[Pod]:
        """All pods."""
        return [pod for node in self.nodes for pod in node.pods]

    def node_of(self, pod: Pod) -> Node:
        """Return a pod's node."""
        return next(node for node in self.nodes if node.name == pod.node)

    def addresses(self, v6: bool) -> list[str]:
        """List the addresses that somebody has."""
        found = [pod.ipv6 if v6 else pod.ipv4 for pod in self.pods]
        found += [node.ipv6 if v6 else node.ipv4 for node in self.nodes]
        return [*found, OUTSIDE6 if v6 else OUTSIDE4]

    def address_in(self, place: str, v6: bool) -> str:
        """Return the first address of a namespace."""
        everybody: list[Pod | Node] = [*self.pods, *self.nodes]
        for one in everybody:
            if one.name == place:
                return one.ipv6 if v6 else one.ipv4
        return OUTSIDE6 if v6 else OUTSIDE4

    def nowhere(self, v6: bool) -> str:
        """Make up an address that nobody has."""
        last = self.rng.randrange(200, 250)
        node = self.rng.choice(self.nodes)
        if v6:
            return self.rng.choice(
                [f"fd44:{node.index}::{last:x}", f"fd30::{last:x}", f"2001:db8:9::{last:x}"]
            )
        return self.rng.choice([f"10.244.{node.index}.{last}", f"172.30.0.{last}", f"203.0.113.{last}"])

    def senders(self) -> list[str]:
        """Name the namespaces that can send."""
        return [*(pod.name for pod in self.pods), *(node.name for node in self.nodes), OUTSIDE]

    def places(self) -> list[Place]:
        """List all namespaces in the order of building."""
        found = [Place(FABRIC, "fabric"), Place(OUTSIDE, "node", OUTSIDE)]
        for node in self.nodes:
            found.append(Place(node.name, "node", node.name))
            found += [Place(pod.name, "pod", node.name) for pod in node.pods]
        return found
