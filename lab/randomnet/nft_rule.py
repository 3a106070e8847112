"""Where a random nftables rule stands, and what its table needs declared."""

from __future__ import annotations

from collections.abc import Callable

from lab.randomnet.plan import Plan


class RuleContext:
    """Plan, namespace, address family and hook of a rule; the declarations its table needs; what is worth sending."""

    def __init__(self, plan: Plan, place: str, v6: bool, hook: str) -> None:
        self.plan, self.place, self.v6, self.hook = plan, place, v6, hook
        self.rng = plan.rng
        self.declarations: list[str] = []
        self.family = "ip6" if v6 else "ip"
        self.addr_type = "ipv6_addr" if v6 else "ipv4_addr"
        self.icmp = "icmpv6" if v6 else "icmp"
        self.dst = self.rng.choice(plan.addresses(v6))
        self.src_place = self.rng.choice(plan.senders())
        self.src = plan.address_in(self.src_place, v6)
        self.aim: dict[str, object] = {}
        self.inet = False

    def declare(self, text: str) -> str:
        """Declare a set, map or object, and return its name."""
        name = f"s{self.plan.unique()}"
        self.declarations.append(text.replace("NAME", name))
        return name

    def range_of(self, addr: str) -> str:
        """Return a range or prefix around an address."""
        if self.v6:
            return f"{addr.split('::')[0]}::/64"
        head, _, last = addr.rpartition(".")
        return self.rng.choice([f"{head}.0/24", f"{head}.{max(int(last) - 3, 0)}-{head}.{int(last) + 2}"])

    @property
    def devs(self) -> list[str]:
        """Name devices of the namespace."""
        return ["eth0", "br0", *(pod.host for pod in self.plan.pods if pod.node == self.place)]


Words = Callable[[RuleContext], str]
EVERYWHERE = frozenset(("prerouting", "input", "forward", "output", "postrouting"))
