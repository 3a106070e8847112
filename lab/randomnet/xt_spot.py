"""Where an iptables rule stands, and what its words need beside the rule: sets, accounting objects."""

from __future__ import annotations

from lab.randomnet.plan import Node, Plan

OUTGOING = ("OUTPUT", "POSTROUTING")
INCOMING = ("PREROUTING", "INPUT", "FORWARD")


class Spot:
    """A place in the network, a family, a table and a chain; `addr` is an address that the rule is about."""

    def __init__(self, plan: Plan, place: str, v6: bool, table: str, chain: str) -> None:
        self.plan, self.place, self.v6, self.table, self.chain = plan, place, v6, table, chain
        self.rng = plan.rng
        self.addr = self._address()
        self.sets: list[str] = []
        self.accounts: list[str] = []
        self.kinds: list[str] = []

    def _address(self) -> str:
        own = self.plan.address_in(self.place, self.v6)
        if self.chain == "INPUT":
            return own
        others = [addr for addr in self.plan.addresses(self.v6) if addr != own]
        behind = [pod.ipv6 if self.v6 else pod.ipv4 for pod in self.plan.pods if pod.node == self.place]
        return self.rng.choice(behind if behind and self.chain == "FORWARD" else others)

    @property
    def node(self) -> Node | None:
        """The node here, if this place is one."""
        return next((node for node in self.plan.nodes if node.name == self.place), None)

    def senders(self) -> list[str]:
        """Name who may send what passes this chain."""
        if self.chain == "OUTPUT":
            return [self.place]
        others = [name for name in self.plan.senders() if name != self.place]
        behind = [pod.name for pod in self.plan.pods if pod.node == self.place]
        return [*others, *behind, *behind]

    def new_set(self, create: str, *adds: str) -> str:
        """Declare an ipset, and return its name."""
        name = f"nvs{self.plan.unique()}"
        family = " family inet6" if self.v6 and create.startswith("hash") and create != "hash:mac" else ""
        kind, _, options = create.partition(" ")
        self.sets.append(f"create {name} {kind}{family} {options}".rstrip())
        self.sets += [f"add {name} {add}" for add in adds]
        return name
