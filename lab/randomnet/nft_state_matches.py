"""What rules match on beside the packet: connections, routes, sockets, sets, chance."""

from __future__ import annotations

from lab.randomnet.model import PORT
from lab.randomnet.nft_rule import RuleContext, Words


def anonymous_set(c: RuleContext) -> str:
    others = c.rng.sample(c.plan.addresses(c.v6), min(2, len(c.plan.addresses(c.v6))))
    return f"{c.family} daddr {{ {', '.join(sorted({c.dst, *others}))} }}"


def named_set(c: RuleContext) -> str:
    name = c.declare(f"set NAME {{ type {c.addr_type}; elements = {{ {c.dst} }}; }}")
    return f"{c.family} daddr @{name}"


def interval_set(c: RuleContext) -> str:
    name = c.declare(
        f"set NAME {{ type {c.addr_type}; flags interval; elements = {{ {c.range_of(c.dst)} }}; }}"
    )
    return f"{c.family} daddr {c.rng.choice(['', '', '!= '])}@{name}"


def concatenation(c: RuleContext) -> str:
    name = c.declare(
        f"set NAME {{ type {c.addr_type} . inet_proto . inet_service; "
        f"elements = {{ {c.dst} . tcp . {PORT}, {c.dst} . udp . {PORT} }}; }}"
    )
    return f"{c.family} daddr . meta l4proto . th dport @{name}"


def interval_concatenation(c: RuleContext) -> str:
    name = c.declare(
        f"set NAME {{ type {c.addr_type} . inet_service; flags interval; "
        f"elements = {{ {c.range_of(c.dst)} . 8000-9000 }}; }}"
    )
    return f"{c.family} daddr . th dport @{name}"


def names_concatenation(c: RuleContext) -> str:
    word = "oifname" if c.hook in ("output", "postrouting") else "iifname"
    elements = ", ".join(f'"{dev}" . {c.dst}' for dev in (*c.devs, "lo"))
    name = c.declare(f"set NAME {{ type ifname . {c.addr_type}; elements = {{ {elements} }}; }}")
    return f"meta {word} . {c.family} daddr @{name}"


def timeout_set(c: RuleContext) -> str:
    name = c.declare(
        f"set NAME {{ type {c.addr_type}; flags timeout; elements = {{ {c.dst} timeout 1h }}; }}"
    )
    return f"{c.family} daddr @{name}"


def counting_set(c: RuleContext) -> str:
    extra = c.rng.choice(["counter;", "limit rate 100/second;", "quota 100 mbytes;"])
    name = c.declare(f"set NAME {{ type {c.addr_type}; {extra} elements = {{ {c.dst} }}; }}")
    return f"{c.family} daddr @{name}"


def mark_map(c: RuleContext) -> str:
    """Match on what a map gives: of intervals, with a default."""
    flags, key = ("flags interval; ", c.range_of(c.dst)) if c.plan.chance(0.5) else ("", c.dst)
    name = c.declare(
        f"map NAME {{ type {c.addr_type} : mark; {flags}elements = {{ {key} : 0x21, * : 0x22 }}; }}"
    )
    wanted = c.rng.choice(["0x21", "0x21", "0x22"])
    return f"meta mark set {c.family} daddr map @{name} meta mark {wanted}"


def filled_set(c: RuleContext) -> str:
    """Add to a set and look it up at once."""
    name = c.declare(f"set NAME {{ type {c.addr_type}; flags dynamic; timeout 1h; size 100; }}")
    how = c.rng.choice(["add", "update"])
    return f"{how} @{name} {{ {c.family} saddr }} {c.family} saddr @{name}"


def emptied_set(c: RuleContext) -> str:
    """Delete from a set and look it up at once."""
    name = c.declare(
        f"set NAME {{ type {c.addr_type}; flags dynamic; timeout 1h; size 100; elements = {{ {c.src} }}; }}"
    )
    c.aim["src"] = c.src_place
    return f"delete @{name} {{ {c.family} saddr }} {c.family} saddr != @{name}"


def filled_map(c: RuleContext) -> str:
    """Add to a map and look it up at once."""
    name = c.declare(f"map NAME {{ type {c.addr_type} : mark; flags dynamic; timeout 1h; size 100; }}")
    return (
        f"add @{name} {{ {c.family} saddr : 0x17 }} meta mark set {c.family} saddr map @{name} meta mark 0x17"
    )


def metered_set(c: RuleContext) -> str:
    """Add with a limit of the element's own: the first packet is within it."""
    name = c.declare(f"set NAME {{ type {c.addr_type}; flags dynamic; size 100; timeout 1h; }}")
    limit = c.rng.choice(
        ["limit rate 1000/second", "limit rate over 1000/second", "quota over 1 bytes", "counter"]
    )
    return f"update @{name} {{ {c.family} saddr {limit} }}"


def ct_count(c: RuleContext) -> str:
    if c.plan.chance(0.5):
        return c.rng.choice(["ct count 100000", "ct count over 0"])
    name = c.declare(f"set NAME {{ type {c.addr_type}; flags dynamic; size 100; }}")
    return (
        f"add @{name} {{ {c.family} saddr ct count {c.rng.choice(['', 'over '])}{c.rng.choice([0, 9999])} }}"
    )


def ct_state(c: RuleContext) -> str:
    return (
        f"ct state {c.rng.choice(['new', 'established,related', 'invalid', '{ new, untracked }', '!= new'])}"
    )


def ct_direction(c: RuleContext) -> str:
    return f"ct direction {c.rng.choice(['original', 'reply'])}"


def ct_tuple(c: RuleContext) -> str:
    way = c.rng.choice(["original", "original", "reply"])
    own, other = ("daddr", "saddr") if way == "original" else ("saddr", "daddr")
    words = [
        f"ct {way} {c.family} {own} {c.dst}",
        f"ct {way} {c.family} {other} != {c.dst}",
        f"meta l4proto {{ tcp, udp }} ct {way} proto-{'dst' if way == 'original' else 'src'} {PORT}",
    ]
    return c.rng.choice(words)


def ct_protocol(c: RuleContext) -> str:
    return c.rng.choice(["ct original l3proto " + ("ipv6" if c.v6 else "ipv4"), "ct protocol { tcp, udp }"])


def ct_counters(c: RuleContext) -> str:
    way = c.rng.choice(["", "original ", "reply "])
    return (
        f"ct {way}{c.rng.choice(['packets < 2', 'packets > 0', 'bytes > 70', 'avgpkt > 70', 'bytes < 65'])}"
    )


def ct_labels(c: RuleContext) -> str:
    return c.rng.choice(["ct label set 1 ct label 1", "ct label != 2"])


def ct_status(c: RuleContext) -> str:
    return f"ct status {c.rng.choice(['snat', 'dnat', '!= dnat', 'confirmed', 'seen-reply', 'assured'])}"


def ct_zone(c: RuleContext) -> str:
    return f"ct zone {c.rng.choice(['0', '!= 5', '0-3'])}"


def ct_mark(c: RuleContext) -> str:
    return c.rng.choice(["ct mark 0", "ct mark set 0x5 ct mark 0x5", "ct mark & 0xf != 3"])


def ct_unknown(c: RuleContext) -> str:
    """Match what no state tells of a connection."""
    return c.rng.choice(["ct expiration > 1s", "ct id > 5"])


def fib_daddr(c: RuleContext) -> str:
    return f"fib daddr type {c.rng.choice(['local', 'unicast', '!= local', '{ local, broadcast }'])}"


def fib_device_type(c: RuleContext) -> str:
    """Ask for the type of an address as one device sees it."""
    way = "oif" if c.hook in ("output", "postrouting") else "iif"
    return f"fib {c.rng.choice(['daddr', 'saddr'])} . {way} type {c.rng.choice(['local', 'unicast', '!= local'])}"


def fib_saddr(c: RuleContext) -> str:
    return c.rng.choice(["fib saddr . iif oif missing", "fib saddr . iif oif exists"])


def fib_device(c: RuleContext) -> str:
    addr = c.rng.choice(["saddr", "daddr", "saddr . mark", "daddr . mark"])
    return f"fib {addr} {c.rng.choice(['oif exists', 'oif missing', 'oifname eth0', 'oifname != br0', 'oif lo'])}"


def numgen(c: RuleContext) -> str:
    modulus = c.rng.choice([3, 100, 1000])
    return f"numgen {c.rng.choice(['random', 'inc'])} mod {modulus} < {c.rng.choice([1, 2])}"


def random_number(c: RuleContext) -> str:
    return c.rng.choice(["meta random > 2147483648", "numgen random mod 10 offset 5 7-9"])


def jhash(c: RuleContext) -> str:
    what = c.rng.choice(
        [f"{c.family} saddr", f"{c.family} saddr . {c.family} daddr", f"{c.family} daddr . th dport"]
    )
    seed = c.rng.choice(["seed 0x1234", "seed 0x1", ""])
    return f"jhash {what} mod 3 {seed} < {c.rng.choice([1, 2])}"


def symhash(c: RuleContext) -> str:
    return f"symhash mod 2 {c.rng.choice([0, 1])}"


def limit(c: RuleContext) -> str:
    return c.rng.choice(
        ["limit rate 1000/second", "limit rate over 1000/second", "limit rate 100 mbytes/second"]
    )


def quota(c: RuleContext) -> str:
    return c.rng.choice(["quota 100 mbytes", "quota over 100 mbytes", "quota over 1 bytes", "quota 1 bytes"])


def limiting_object(c: RuleContext) -> str:
    if c.plan.chance(0.5):
        return f'limit name "{c.declare("limit NAME { rate 1000/second; }")}"'
    name = c.declare(f"quota NAME {{ {c.rng.choice(['', 'over '])}100 mbytes; }}")
    return f'quota name "{name}"'


def counter_object(c: RuleContext) -> str:
    if c.plan.chance(0.5):
        return f'counter name "{c.declare("counter NAME { }")}"'
    one, other = c.declare("counter NAME { }"), c.declare("counter NAME { }")
    return f'counter name {c.family} daddr map {{ {c.dst} : "{one}", {c.plan.nowhere(c.v6)} : "{other}" }}'


def socket(c: RuleContext) -> str:
    c.aim["proto"] = c.rng.choice(["tcp", "udp"])
    return c.rng.choice(["socket wildcard 1", "socket transparent 0", "socket mark 0", "socket wildcard 0"])


def fingerprint(c: RuleContext) -> str:
    c.aim["proto"] = "tcp"
    return 'osf name "unknown"'


STATE_MATCHES: dict[str, Words] = {
    "anonymous-set": anonymous_set,
    "set": named_set,
    "set-interval": interval_set,
    "set-concat": concatenation,
    "set-interval-concat": interval_concatenation,
    "set-names-concat": names_concatenation,
    "set-timeout": timeout_set,
    "set-counter": counting_set,
    "map-mark": mark_map,
    "dynset-add": filled_set,
    "dynset-delete": emptied_set,
    "dynset-map": filled_map,
    "dynset-limit": metered_set,
    "ct-count": ct_count,
    "ct-state": ct_state,
    "ct-direction": ct_direction,
    "ct-tuple": ct_tuple,
    "ct-protocol": ct_protocol,
    "ct-counters": ct_counters,
    "ct-label": ct_labels,
    "ct-status": ct_status,
    "ct-zone": ct_zone,
    "ct-mark": ct_mark,
    "ct-unknown": ct_unknown,
    "fib-daddr": fib_daddr,
    "fib-device-type": fib_device_type,
    "fib-saddr": fib_saddr,
    "fib-device": fib_device,
    "numgen": numgen,
    "random": random_number,
    "jhash": jhash,
    "symhash": symhash,
    "limit": limit,
    "quota": quota,
    "limiting-object": limiting_object,
    "counter-object": counter_object,
    "socket": socket,
    "osf": fingerprint,
}
_INWARD = frozenset(("prerouting", "input", "forward"))
STATE_HOOKS: dict[str, frozenset[str]] = {
    "fib-saddr": _INWARD,
    "fib-device": _INWARD,
    "socket": frozenset(("prerouting", "input", "output")),
    "osf": _INWARD,
}
