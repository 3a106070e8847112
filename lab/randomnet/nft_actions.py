"""What rules do to a packet."""

from __future__ import annotations

from lab.randomnet.model import PORT
from lab.randomnet.nft_rule import EVERYWHERE, RuleContext, Words


def payload_set(c: RuleContext) -> str:
    """Write a header field."""
    words4 = ["ip dscp set 0x04", "ip ttl set 33", "ip ecn set ce", "ip dscp set cs0"]
    words6 = ["ip6 dscp set 0x04", "ip6 hoplimit set 33", "ip6 dscp set cs0"]
    return c.rng.choice(words6 if c.v6 else words4)


def payload_set_port(c: RuleContext) -> str:
    """Write a port: the connection keeps the other."""
    proto = c.rng.choice(["tcp", "udp"])
    return c.rng.choice([f"{proto} dport set {PORT}", f"{proto} sport set 3333", "udp checksum set 0"])


def payload_set_address(c: RuleContext) -> str:
    """Write an address."""
    return f"{c.family} {c.rng.choice(['saddr', 'daddr'])} set {c.rng.choice(c.plan.addresses(c.v6))}"


def mark_arithmetic(c: RuleContext) -> str:
    words = [
        "meta mark set meta mark | 0x10",
        "meta mark set meta mark & 0xf0",
        "meta mark set meta mark ^ 0x4011",
        "meta mark set meta mark << 2",
        "meta mark set meta mark >> 4",
        f"meta mark set {c.family} dscp map {{ 0 : 0x10, 4 : 0x4000, 8 : 0x1 }}",
        f"meta mark set jhash {c.family} saddr mod 4 seed 0x7 offset 0x10",
        "meta mark set numgen inc mod 2 map { 0 : 0x10, 1 : 0x1 }",
    ]
    return c.rng.choice(words)


def ct_marks(c: RuleContext) -> str:
    words = [
        "ct mark set 0x1",
        "ct mark set meta mark",
        "meta mark set ct mark",
        "ct mark set 0x10 meta mark set ct mark",
    ]
    return c.rng.choice(words)


def ct_settings(c: RuleContext) -> str:
    """Set what belongs to a connection and changes nothing of the packet's path."""
    helper = c.declare('ct helper NAME { type "ftp" protocol tcp; l3proto ip; }') if not c.v6 else ""
    words = ["ct label set 1", "ct event set new,destroy"]
    if helper:
        words.append(f'meta l4proto tcp ct helper set "{helper}"')
        timeout = c.declare("ct timeout NAME {\nprotocol udp; l3proto ip;\npolicy = { replied: 100 }\n}")
        words.append(f'meta l4proto udp ct timeout set "{timeout}"')
    return c.rng.choice(words)


def options(c: RuleContext) -> str:
    """Change or strip options of a SYN."""
    words = ["tcp option maxseg size set 1000", "reset tcp option timestamp"]
    if c.hook in ("forward", "postrouting"):
        words.append("tcp flags syn tcp option maxseg size set rt mtu")
    return c.rng.choice(words)


def vmap(c: RuleContext) -> str:
    words = [
        f"{c.family} daddr vmap {{ {c.dst} : drop }}",
        "meta l4proto vmap { tcp : accept, udp : drop }",
        "th dport vmap { 1-100 : drop, 8000-9000 : accept }",
        "numgen random mod 4 vmap { 0 : drop, 1-3 : accept }",
        "ct state vmap { new : accept, established : drop, related : return }",
        f"jhash {c.family} saddr . {c.family} daddr mod 2 seed 0x9 vmap {{ 0 : accept, 1 : drop }}",
    ]
    return c.rng.choice(words)


def default_vmap(c: RuleContext) -> str:
    name = c.declare(
        f"map NAME {{ type {c.addr_type} : verdict; elements = {{ {c.src} : accept, * : drop }}; }}"
    )
    return f"{c.family} saddr vmap @{name}"


def reject(c: RuleContext) -> str:
    either = ["reject with icmpx admin-prohibited", "reject with icmpx no-route"]
    return c.rng.choice(["reject", *(either if c.inet else [])])


def reject_with(c: RuleContext) -> str:
    words = ["icmp host-prohibited", "icmp net-unreachable", "icmp prot-unreachable"]
    words6 = ["icmpv6 no-route", "icmpv6 addr-unreachable", "icmpv6 policy-fail"]
    return f"reject with {c.rng.choice(words6 if c.v6 else words)}"


def log(c: RuleContext) -> str:
    return c.rng.choice(['log prefix "nv"', "log group 7", "log level debug flags all"])


ACTIONS: dict[str, Words] = {
    "drop": lambda c: "drop",
    "accept": lambda c: "accept",
    "return": lambda c: "return",
    "continue": lambda c: "continue",
    "mark-set": lambda c: "meta mark set 0x10",
    "mark-arithmetic": mark_arithmetic,
    "counter": lambda c: "counter",
    "log": log,
    "reject": reject,
    "reject-with": reject_with,
    "reject-tcp-reset": lambda c: "meta l4proto tcp reject with tcp reset",
    "notrack": lambda c: "notrack",
    "zone-set": lambda c: "ct zone set 3",
    "ct-mark": ct_marks,
    "ct-set": ct_settings,
    "payload-set": payload_set,
    "payload-set-port": payload_set_port,
    "payload-set-address": payload_set_address,
    "priority-set": lambda c: c.rng.choice(["meta priority set 1:2", "meta nftrace set 1"]),
    "pkttype-set": lambda c: f"meta pkttype set {c.rng.choice(['host', 'other', 'broadcast'])}",
    "option-set": options,
    "vmap": vmap,
    "vmap-default": default_vmap,
}
_REJECTS = EVERYWHERE - {"postrouting"}
ACTION_HOOKS: dict[str, frozenset[str]] = {
    "reject": _REJECTS,
    "reject-with": _REJECTS,
    "reject-tcp-reset": _REJECTS,
    "notrack": frozenset(("prerouting", "output")),
    "zone-set": frozenset(("prerouting",)),
    "pkttype-set": frozenset(("prerouting",)),
    "payload-set-address": frozenset(("prerouting", "output", "forward")),
}
