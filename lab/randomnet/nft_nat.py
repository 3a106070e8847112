"""nftables' address translation: every statement, with ranges, maps, prefixes and flags."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from lab.randomnet.model import CLOSED_PORT, PORT
from lab.randomnet.plan import OUTSIDE4, OUTSIDE6, PODS4, PODS6, Node, Plan


class NatRule(msgspec.Struct):
    """A translation: what to send to, the rule's words, its hooks, and how packets are to be."""

    dst: str
    words: str
    source: bool = False
    proto: str = ""
    dport: int = 0
    token: str = ""
    chain: str = ""
    hook: str = ""


class Nat:
    """Where a translation stands, and what it may use."""

    def __init__(self, plan: Plan) -> None:
        self.plan, self.rng = plan, plan.rng
        self.v6 = plan.chance(0.4)
        self.family = "ip6" if self.v6 else "ip"
        self.node: Node = self.rng.choice(plan.nodes)
        self.place = self.node.name if plan.chance(0.8) else self.rng.choice(plan.senders())
        self.service = ("fdff::" if self.v6 else "10.96.0.") + str(plan.unique())
        self.dst, self.to = (self.rng.choice(plan.addresses(self.v6)) for _ in range(2))
        self.own = plan.address_in(self.place, self.v6)
        self.outside = OUTSIDE6 if self.v6 else OUTSIDE4
        self.pods = PODS6 if self.v6 else PODS4

    def at(self, addr: str, port: str | int) -> str:
        """Write an address with a port."""
        return f"[{addr}]:{port}" if self.v6 else f"{addr}:{port}"

    def through(self, addr: str, count: int = 3) -> str:
        """Write a range of addresses that begins at one."""
        head, mark, last = addr.rpartition(":" if self.v6 else ".")
        number = int(last or "0", 16 if self.v6 else 10)
        return f"{addr}-{head}{mark}{format(number + count, 'x' if self.v6 else 'd')}"

    def prefix(self, addr: str) -> str:
        """Write the prefix that an address is in."""
        return f"{addr.split('::')[0]}::/64" if self.v6 else f"{addr.rpartition('.')[0]}.0/24"

    @property
    def to_service(self) -> str:
        """Match the service's address."""
        return f"{self.family} daddr {self.service}"


def dnat(n: Nat) -> NatRule:
    return NatRule(n.service, f"{n.to_service} dnat to {n.to}")


def dnat_port(n: Nat) -> NatRule:
    return NatRule(
        n.service, f"{n.to_service} tcp dport 80 dnat to {n.at(n.to, PORT)}", proto="tcp", dport=80
    )


def dnat_range(n: Nat) -> NatRule:
    flags = n.rng.choice(["", " persistent"])
    return NatRule(n.service, f"{n.to_service} dnat to {n.through(n.to)}{flags}")


def dnat_port_range(n: Nat) -> NatRule:
    words = f"{n.to_service} tcp dport 80 dnat to {n.at(n.to, f'{PORT}-{PORT + n.rng.choice([0, 1, 30])}')}"
    return NatRule(n.service, words, proto="tcp", dport=80)


def dnat_port_only(n: Nat) -> NatRule:
    return NatRule(
        n.dst,
        f"{n.family} daddr {n.dst} tcp dport 81 dnat to :{PORT}",
        proto="tcp",
        dport=CLOSED_PORT,
        token="dnat to",
    )


def redirect(n: Nat) -> NatRule:
    flags = n.rng.choice(["", " persistent"])
    return NatRule(
        n.dst, f"tcp dport 81 redirect to :8080{flags}", proto="tcp", dport=CLOSED_PORT, token="redirect"
    )


def redirect_range(n: Nat) -> NatRule:
    return NatRule(
        n.dst, "tcp dport 81 redirect to :8080-8083", proto="tcp", dport=CLOSED_PORT, token="redirect"
    )


def masquerade(n: Nat) -> NatRule:
    return NatRule(n.outside, f"{n.family} saddr {n.pods} masquerade", True, token="masquerade")


def masquerade_flags(n: Nat) -> NatRule:
    flag = n.rng.choice(["random", "fully-random", "persistent"])
    return NatRule(n.outside, f"{n.family} saddr {n.pods} masquerade {flag}", True, token="masquerade")


def masquerade_ports(n: Nat) -> NatRule:
    low = n.rng.choice([20000, 40000, 40000])
    high = low + n.rng.choice([5, 30, 2000])
    return NatRule(
        n.outside, f"meta l4proto {{ tcp, udp }} masquerade to :{low}-{high}", True, token="masquerade"
    )


def snat(n: Nat) -> NatRule:
    return NatRule(n.outside, f"{n.family} daddr {n.outside} snat to {n.own}", True, token="snat to")


def snat_range(n: Nat) -> NatRule:
    flags = n.rng.choice(["", " persistent", " random"])
    return NatRule(
        n.outside, f"{n.family} daddr {n.outside} snat to {n.through(n.own)}{flags}", True, token="snat to"
    )


def snat_ports(n: Nat) -> NatRule:
    flags = n.rng.choice(["", "", " random", " persistent"])
    words = f"{n.family} daddr {n.outside} meta l4proto {{ tcp, udp }} snat to {n.at(n.own, '40000-50000')}{flags}"
    return NatRule(n.outside, words, True, token="snat to")


def snat_few_ports(n: Nat) -> NatRule:
    """So few ports that connections clash."""
    words = f"{n.family} daddr {n.outside} meta l4proto {{ tcp, udp }} snat to {n.at(n.own, '40000-40001')}"
    return NatRule(n.outside, words, True, token="snat to")


def snat_map(n: Nat) -> NatRule:
    words = f"snat to {n.family} saddr map {{ {n.pods} : {n.own} }}"
    return NatRule(n.outside, words, True, token="snat to")


def snat_prefix(n: Nat) -> NatRule:
    source = n.prefix(n.rng.choice(n.node.pods).ipv6 if n.v6 else n.rng.choice(n.node.pods).ipv4)
    target = "fd99::/64" if n.v6 else "10.99.0.0/24"
    return NatRule(
        n.dst,
        f"snat {n.family} prefix to {n.family} saddr map {{ {source} : {target} }}",
        True,
        token="snat to",
    )


def snat_input(n: Nat) -> NatRule:
    return NatRule(n.own, f"{n.family} daddr {n.own} snat to {n.own}", True, token="snat to", hook="input")


def dnat_map(n: Nat) -> NatRule:
    return NatRule(n.service, f"dnat to {n.family} daddr map {{ {n.service} : {n.to} }}")


def dnat_interval_map(n: Nat) -> NatRule:
    span = "fdff::/64" if n.v6 else "10.96.0.0/16"
    return NatRule(n.service, f"dnat to {n.family} daddr map {{ {span} : {n.to} }}")


def dnat_port_map(n: Nat) -> NatRule:
    words = (
        f"meta l4proto tcp dnat {n.family} addr . port to {n.family} daddr . tcp dport map "
        f"{{ {n.service} . 80 : {n.to} . {PORT} }}"
    )
    return NatRule(n.service, words, proto="tcp", dport=80)


def dnat_range_map(n: Nat) -> NatRule:
    words = f"dnat to {n.family} daddr map {{ {n.service} : {n.through(n.to)} }}"
    return NatRule(n.service, words)


def dnat_prefix(n: Nat) -> NatRule:
    span, target = ("fdff::/64" if n.v6 else "10.96.0.0/24"), n.prefix(n.to)
    host = n.to.rpartition(":" if n.v6 else ".")[2]
    dst = f"fdff::{host}" if n.v6 else f"10.96.0.{host}"
    words = f"dnat {n.family} prefix to {n.family} daddr map {{ {span} : {target} }}"
    return NatRule(dst, words, token="dnat to")


def dnat_numgen(n: Nat) -> NatRule:
    how = n.rng.choice(["random", "inc"])
    return NatRule(n.service, f"{n.to_service} dnat to numgen {how} mod 2 map {{ 0 : {n.to}, 1 : {n.dst} }}")


def dnat_hash(n: Nat) -> NatRule:
    how = n.rng.choice(
        [
            f"jhash {n.family} saddr mod 2 seed 0x5",
            f"jhash {n.family} saddr . th sport mod 2",
            "symhash mod 2",
        ]
    )
    return NatRule(n.service, f"{n.to_service} dnat to {how} map {{ 0 : {n.to}, 1 : {n.dst} }}")


def dnat_vmap(n: Nat) -> NatRule:
    chain = f"c{n.plan.unique()}x"
    words = f"{n.family} daddr . meta l4proto . th dport vmap {{ {n.service} . tcp . 80 : goto {chain} }}"
    extra = f"chain {chain} {{\nmeta l4proto tcp dnat to {n.at(n.to, PORT)}\n}}\n"
    return NatRule(n.service, words, proto="tcp", dport=80, chain=extra)


KINDS: dict[str, Callable[[Nat], NatRule]] = {
    "dnat": dnat,
    "dnat-port": dnat_port,
    "dnat-range": dnat_range,
    "dnat-port-range": dnat_port_range,
    "dnat-port-only": dnat_port_only,
    "redirect": redirect,
    "redirect-range": redirect_range,
    "masquerade": masquerade,
    "masquerade-flags": masquerade_flags,
    "masquerade-ports": masquerade_ports,
    "snat": snat,
    "snat-range": snat_range,
    "snat-ports": snat_ports,
    "snat-few-ports": snat_few_ports,
    "snat-map": snat_map,
    "snat-prefix": snat_prefix,
    "snat-input": snat_input,
    "dnat-map": dnat_map,
    "dnat-interval-map": dnat_interval_map,
    "dnat-port-map": dnat_port_map,
    "dnat-range-map": dnat_range_map,
    "dnat-prefix": dnat_prefix,
    "dnat-numgen": dnat_numgen,
    "dnat-hash": dnat_hash,
    "dnat-vmap": dnat_vmap,
}


def translations(plan: Plan) -> None:
    """Add NAT chains, some in tables that are switched off."""
    if not plan.chance(0.8):
        return
    for _ in range(plan.rng.choice([1, 1, 2, 2])):
        _translation(plan)


def _translation(plan: Plan) -> None:
    n, rng = Nat(plan), plan.rng
    kind = rng.choice(sorted(KINDS))
    rule = KINDS[kind](n)
    table, chain = f"nv{plan.unique()}", f"c{plan.unique()}x"
    family = rng.choice(["inet", n.family, n.family])
    words = (
        rule.words
        if family != "inet"
        else f"meta nfproto {'ipv6' if n.v6 else 'ipv4'} {_explicit(rule.words, n.family)}"
    )
    hooks = [("postrouting", "srcnat")] if rule.source else [("prerouting", "dstnat"), ("output", "-100")]
    if rule.hook:
        hooks = [(rule.hook, "100")]
    bases = "".join(
        f"chain b{hook}{table} {{\ntype nat hook {hook} priority {priority}\njump {chain}\n}}\n"
        for hook, priority in hooks
    )
    dormant = "flags dormant;\n" if plan.chance(0.06) else ""
    extra = rule.chain.replace("dnat to", f"dnat {n.family} to") if family == "inet" else rule.chain
    text = f"table {family} {table} {{\n{dormant}{extra}chain {chain} {{\n{words}\n}}\n{bases}}}\n"
    tokens = _tokens(rule.token) if rule.token else [n.service]
    if dormant:
        plan.add("nat.dormant", n.place, nft=text, tokens=[n.service])
    else:
        plan.add(f"nat.{kind}{'6' if n.v6 else ''}", n.place, nft=text, tokens=tokens)
        if family == "inet":
            plan.add("nat.inet", n.place, tokens=[f"inet {table}"])
    for _ in range(4):
        sender = rng.choice([n.place, *(pod.name for pod in n.node.pods)])
        plan.aim(rule.dst, proto=rule.proto, dport=rule.dport, src=sender)


def _tokens(token: str) -> list[str]:
    """List the ways in which a statement shows in a trace's evidence."""
    kind, _, rest = token.partition(" ")
    return [f"{kind} {family}{rest}" for family in ("", "ip ", "ip6 ", "prefix ")] if rest else [token]


def _explicit(words: str, family: str) -> str:
    """Name the family of an address in a table of both."""
    for kind in ("dnat", "snat"):
        words = words.replace(f"{kind} to :", f"{kind} TO :").replace(f"{kind} to ", f"{kind} {family} to ")
        words = words.replace(f"{kind} TO :", f"{kind} to :")
    return words
