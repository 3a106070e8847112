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
        self.own = plan.address_in(place, v6)
        self.going(*self._passing())
        self.aim: dict[str, object] = {}
        self.inet = False

    def going(self, dst: str, senders: list[str]) -> None:
        """Let the rule be about packets to an address from one of some places."""
        self.dst, self.senders = dst, senders
        self.src_place = self.rng.choice(senders)
        self.src = self.plan.address_in(self.src_place, self.v6)

    def _passing(self) -> tuple[str, list[str]]:
        """Choose a destination, and name who may send to it, so that the packet passes the hook."""
        plan, away = self.plan, [name for name in self.plan.senders() if name != self.place]
        others = [addr for addr in plan.addresses(self.v6) if addr != self.own]
        behind = [pod.ipv6 if self.v6 else pod.ipv4 for pod in plan.pods if pod.node == self.place]
        inside = [pod.name for pod in plan.pods if pod.node == self.place]
        if self.hook == "output":
            return self.rng.choice(others), [self.place]
        if self.hook == "input":
            return self.own, away
        if plan.chance(0.5) or not inside:
            return self.rng.choice([*behind, *behind, self.own]), away
        return self.rng.choice(others), inside

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
