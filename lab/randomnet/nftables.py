"""nftables rulesets: tables of every family, hooks, sets, maps, verdict maps, NAT, and the matches rules use most.

A ruleset is one table of a node, a pod or the outside host with one or two base chains. Every rule
stands in a chain of its own that the base chain jumps to, so that a trace's evidence names it.
"""

from __future__ import annotations

from collections.abc import Callable

from lab.randomnet.model import PORT
from lab.randomnet.plan import OUTSIDE4, OUTSIDE6, Plan

# hook, type, priority; what a rule that ends a packet's way there may say.
_HOOKS = (
    ("prerouting", "filter", "raw"),
    ("prerouting", "filter", "mangle"),
    ("forward", "filter", "filter"),
    ("forward", "filter", "filter"),
    ("forward", "filter", "filter"),
    ("input", "filter", "filter"),
    ("output", "filter", "filter"),
    ("postrouting", "filter", "mangle"),
)
Match = Callable[["Context"], str]


class Context:
    """Where a rule stands: plan, namespace, address family, and declarations that its table needs."""

    def __init__(self, plan: Plan, place: str, v6: bool, hook: str) -> None:
        self.plan, self.place, self.v6, self.hook = plan, place, v6, hook
        self.rng = plan.rng
        self.declarations: list[str] = []
        self.family = "ip6" if v6 else "ip"
        self.addr_type = "ipv6_addr" if v6 else "ipv4_addr"
        self.dst = self.rng.choice(plan.addresses(v6))
        self.src_place = self.rng.choice(plan.senders())
        self.src = plan.address_in(self.src_place, v6)
        self.aim: dict[str, object] = {}

    def declare(self, text: str) -> str:
        """Declare a set or map, and return its name."""
        name = f"s{self.plan.unique()}"
        self.declarations.append(text.replace("NAME", name))
        return name

    def range_of(self, addr: str) -> str:
        """Return a range or prefix around an address."""
        if self.v6:
            return f"{addr.split('::')[0]}::/64"
        head, _, last = addr.rpartition(".")
        return self.rng.choice([f"{head}.0/24", f"{head}.{max(int(last) - 3, 0)}-{head}.{int(last) + 2}"])


def _daddr(c: Context) -> str:
    return f"{c.family} daddr {c.dst}"


def _saddr(c: Context) -> str:
    c.aim["src"] = c.src_place
    return f"{c.family} saddr {c.rng.choice([c.src, c.range_of(c.src)])}"


def _dport(c: Context) -> str:
    c.aim["proto"] = c.rng.choice(["tcp", "udp"])
    return f"{c.aim['proto']} dport {c.rng.choice(['8080', '8000-9000', '{ 80, 81, 8080 }', '!= 81'])}"


def _sport(c: Context) -> str:
    return c.rng.choice(["tcp sport 20000-20010", "udp sport >= 20005", "th sport < 20010"])


def _anonymous_set(c: Context) -> str:
    others = c.rng.sample(c.plan.addresses(c.v6), min(2, len(c.plan.addresses(c.v6))))
    return f"{c.family} daddr {{ {', '.join(sorted({c.dst, *others}))} }}"


def _named_set(c: Context) -> str:
    name = c.declare(f"set NAME {{ type {c.addr_type}; elements = {{ {c.dst} }}; }}")
    return f"{c.family} daddr @{name}"


def _interval_set(c: Context) -> str:
    name = c.declare(
        f"set NAME {{ type {c.addr_type}; flags interval; elements = {{ {c.range_of(c.dst)} }}; }}"
    )
    return f"{c.family} daddr {c.rng.choice(['', '', '!= '])}@{name}"


def _concatenation(c: Context) -> str:
    name = c.declare(
        f"set NAME {{ type {c.addr_type} . inet_proto . inet_service; "
        f"elements = {{ {c.dst} . tcp . {PORT}, {c.dst} . udp . {PORT} }}; }}"
    )
    return f"{c.family} daddr . meta l4proto . th dport @{name}"


def _interval_concatenation(c: Context) -> str:
    name = c.declare(
        f"set NAME {{ type {c.addr_type} . inet_service; flags interval; "
        f"elements = {{ {c.range_of(c.dst)} . 8000-9000 }}; }}"
    )
    return f"{c.family} daddr . th dport @{name}"


def _timeout_set(c: Context) -> str:
    name = c.declare(
        f"set NAME {{ type {c.addr_type}; flags timeout; elements = {{ {c.dst} timeout 1h }}; }}"
    )
    return f"{c.family} daddr @{name}"


def _mark(c: Context) -> str:
    c.aim.update(mark=0x10, src=c.place)
    return c.rng.choice(["meta mark 0x10", "meta mark & 0xf0 == 0x10", "meta mark != 0"])


def _ct_state(c: Context) -> str:
    return (
        f"ct state {c.rng.choice(['new', 'established,related', 'invalid', '{ new, untracked }', '!= new'])}"
    )


def _ct_direction(c: Context) -> str:
    return f"ct direction {c.rng.choice(['original', 'reply'])}"


def _iif(c: Context) -> str:
    devs = ["eth0", "br0", *(pod.host for pod in c.plan.pods if pod.node == c.place)]
    word = "oifname" if c.hook in ("output", "postrouting") else "iifname"
    return f"{word} " + c.rng.choice([*devs, '"v*"', "{ eth0, lo }"])


def _l4proto(c: Context) -> str:
    icmp = "ipv6-icmp" if c.v6 else "icmp"
    return f"meta l4proto {c.rng.choice(['tcp', 'udp', icmp, '{ tcp, udp }'])}"


def _icmp_type(c: Context) -> str:
    c.aim["proto"] = "icmp"
    return f"{'icmpv6' if c.v6 else 'icmp'} type {c.rng.choice(['echo-request', 'echo-reply'])}"


def _tcp_flags(c: Context) -> str:
    c.aim["proto"] = "tcp"
    return c.rng.choice(
        ["tcp flags & (syn | ack) == syn", "tcp flags syn / syn,ack,rst", "tcp flags & rst == rst"]
    )


def _length(c: Context) -> str:
    return f"meta length {c.rng.choice(['> 100', '60-90', '< 84', '!= 60'])}"


def _ttl(c: Context) -> str:
    return f"{'ip6 hoplimit' if c.v6 else 'ip ttl'} {c.rng.choice(['> 60', '< 5', '64', '63'])}"


def _dscp(c: Context) -> str:
    c.aim["tos"] = 0x10
    return f"{c.family} dscp {c.rng.choice(['0x04', 'cs0', '!= cs0'])}"


def _fib_daddr(c: Context) -> str:
    return f"fib daddr type {c.rng.choice(['local', 'unicast', '!= local'])}"


def _fib_saddr(c: Context) -> str:
    return c.rng.choice(["fib saddr . iif oif missing", "fib saddr . iif oif exists"])


def _nfproto(c: Context) -> str:
    return f"meta nfproto {'ipv6' if c.v6 else 'ipv4'}"


def _numgen(c: Context) -> str:
    return f"numgen {c.rng.choice(['random', 'inc'])} mod 3 < {c.rng.choice([1, 2])}"


def _limit(c: Context) -> str:
    return "limit rate 1000/second"


MATCHES: dict[str, Match] = {
    "daddr": _daddr,
    "saddr": _saddr,
    "dport": _dport,
    "sport": _sport,
    "anonymous-set": _anonymous_set,
    "set": _named_set,
    "set-interval": _interval_set,
    "set-concat": _concatenation,
    "set-interval-concat": _interval_concatenation,
    "set-timeout": _timeout_set,
    "mark": _mark,
    "ct-state": _ct_state,
    "ct-direction": _ct_direction,
    "ifname": _iif,
    "l4proto": _l4proto,
    "icmp-type": _icmp_type,
    "tcp-flags": _tcp_flags,
    "length": _length,
    "ttl": _ttl,
    "dscp": _dscp,
    "fib-daddr": _fib_daddr,
    "fib-saddr": _fib_saddr,
    "nfproto": _nfproto,
    "numgen": _numgen,
    "limit": _limit,
}


def _verdict(c: Context) -> tuple[str, str]:
    """Choose what a rule does: name and words."""
    reject = "icmpv6 type no-route" if c.v6 else "icmp type host-prohibited"
    choices = [("drop", "drop"), ("drop", "drop"), ("accept", "accept"), ("return", "return")]
    choices += [("mark-set", "meta mark set 0x10"), ("counter", "counter"), ("log", 'log prefix "nv"')]
    if c.hook in ("input", "forward", "output"):
        choices += [("reject", "reject"), ("reject-with", f"reject with {reject}")]
        choices += [("reject-tcp-reset", "meta l4proto tcp reject with tcp reset")]
    if c.hook in ("prerouting", "output"):
        choices += [("notrack", "notrack")]
    choices += [("ct-mark", "ct mark set 0x1")]
    return c.rng.choice(choices)


def filters(plan: Plan) -> None:
    """Add filter chains."""
    for _ in range(plan.rng.choice([0, 1, 1, 2])):
        v6 = plan.chance(0.3)
        place = plan.rng.choice([*(node.name for node in plan.nodes)] * 4 + plan.senders())
        hook, kind, priority = plan.rng.choice(_HOOKS)
        table = f"nv{plan.unique()}"
        family = plan.rng.choice(["inet", "ip6" if v6 else "ip"])
        chains, jumps, features, declarations = [], [], [], []
        for _ in range(plan.rng.choice([1, 2, 3])):
            c = Context(plan, place, v6, hook)
            name = f"c{plan.unique()}x"
            names = plan.rng.sample(sorted(MATCHES), plan.rng.choice([1, 1, 2]))
            if family != "inet" and "nfproto" in names:
                names = ["l4proto"]
            if family == "inet" and not any(n.endswith("addr") or "set" in n for n in names):
                names.append("nfproto")
            words = " ".join(MATCHES[n](c) for n in names)
            verdict, does = _verdict(c)
            declarations += c.declarations
            chains.append(f"chain {name} {{\n{does}\n}}")
            jumps.append(f"{words} {plan.rng.choice(['jump', 'jump', 'goto'])} {name}")
            features += [(f"nft.{n}", name) for n in names] + [(f"nft-verdict.{verdict}", name)]
            plan.aim(c.dst, **{key: value for key, value in c.aim.items() if key != "src" or hook != "input"})
            plan.aim(c.dst)
        policy = plan.rng.choice(["accept", "accept", "accept", "accept", "drop"])
        hook_line = f"type {kind} hook {hook} priority {priority}; policy {policy};"
        base = [f"chain base{table} {{", hook_line, *jumps, "}"]
        text = "\n".join([f"table {family} {table} {{", *declarations, *chains, *base, "}"]) + "\n"
        plan.add(f"nft-hook.{family}-{hook}", place, nft=text, tokens=[f"base{table}"])
        if policy == "drop":
            plan.add("nft-policy.drop", place, tokens=[f"base{table} ({hook}"])
        for feature, name in features:
            plan.add(feature, place, tokens=[f"jump {name}", f"goto {name}"])


def translations(plan: Plan) -> None:
    """Add NAT chains."""
    if not plan.chance(0.6):
        return
    v6 = plan.chance(0.3)
    family = "ip6" if v6 else "ip"
    rng = plan.rng
    node = rng.choice(plan.nodes)
    place = node.name if plan.chance(0.8) else rng.choice(plan.senders())
    table, chain = f"nv{plan.unique()}", f"c{plan.unique()}x"
    dst, to = rng.choice(plan.addresses(v6)), rng.choice(plan.addresses(v6))
    own = plan.address_in(place, v6)
    shown = f"[{to}]" if v6 else to
    outside = OUTSIDE6 if v6 else OUTSIDE4
    kind = rng.choice(
        [
            "dnat",
            "dnat-port",
            "redirect",
            "masquerade",
            "snat",
            "dnat-map",
            "dnat-numgen",
            "dnat-vmap",
            "snat-ports",
        ]
    )
    service = ("fdff::" if v6 else "10.96.0.") + str(plan.unique())
    aimed = {
        "dnat": (service, f"{family} daddr {service} dnat to {to}"),
        "dnat-port": (service, f"{family} daddr {service} tcp dport 80 dnat to {shown}:{PORT}"),
        "redirect": (dst, "tcp dport 81 redirect to :8080"),
        "masquerade": (outside, f"{family} saddr {'fd44::/16' if v6 else '10.244.0.0/16'} masquerade"),
        "snat": (outside, f"{family} daddr {outside} snat to {own}"),
        "snat-ports": (
            outside,
            f"{family} daddr {outside} meta l4proto {{ tcp, udp }} snat to {f'[{own}]' if v6 else own}:40000-50000",
        ),
        "dnat-map": (service, f"dnat to {family} daddr map {{ {service} : {to} }}"),
        "dnat-numgen": (
            service,
            f"{family} daddr {service} dnat to numgen random mod 2 map {{ 0 : {to}, 1 : {dst} }}",
        ),
        "dnat-vmap": (
            service,
            f"{family} daddr . meta l4proto . th dport vmap {{ {service} . tcp . 80 : goto {chain}a }}",
        ),
    }
    target, rule = aimed[kind]
    tokens = {
        "redirect": ["redirect."],
        "masquerade": ["masquerade."],
        "snat": ["snat to"],
        "snat-ports": ["snat to"],
    }.get(kind, [service])
    source = kind in ("masquerade", "snat", "snat-ports")
    hooks = [("postrouting", "srcnat")] if source else [("prerouting", "dstnat"), ("output", "-100")]
    extra = f"chain {chain}a {{\nmeta l4proto tcp dnat to {shown}:{PORT}\n}}\n" if kind == "dnat-vmap" else ""
    bases = "".join(
        f"chain b{hook} {{\ntype nat hook {hook} priority {priority}\njump {chain}\n}}\n"
        for hook, priority in hooks
    )
    text = f"table {family} {table} {{\n{extra}chain {chain} {{\n{rule}\n}}\n{bases}}}\n"
    plan.add(f"nat.{kind}{'6' if v6 else ''}", place, nft=text, tokens=tokens)
    for _ in range(4):
        proto = "tcp" if kind in ("dnat-port", "dnat-vmap", "redirect") else ""
        dport = {"dnat-port": 80, "dnat-vmap": 80, "redirect": 81}.get(kind, 0)
        sender = rng.choice([place, *(pod.name for pod in node.pods)])
        plan.aim(target, proto=proto, dport=dport, src=sender)
