"""Every target of iptables that this generator knows, each with a rule after it that shows what it did."""

from __future__ import annotations

from collections.abc import Callable

from lab.randomnet.xt_spot import OUTGOING, Spot

# Rules of a chain, without its name.
Target = Callable[[Spot], list[str]]
REJECT4 = (
    "icmp-net-unreachable", "icmp-host-unreachable", "icmp-port-unreachable", "icmp-proto-unreachable",
    "icmp-net-prohibited", "icmp-host-prohibited", "icmp-admin-prohibited",
)  # fmt: skip
REJECT6 = (
    "icmp6-no-route", "icmp6-adm-prohibited", "icmp6-addr-unreachable", "icmp6-port-unreachable",
)  # fmt: skip


def _rules(*rules: str) -> Target:
    return lambda _s: list(rules)


def _one_of(*choices: tuple[str, ...]) -> Target:
    return lambda s: list(s.rng.choice(choices))


def _reject_with(s: Spot) -> list[str]:
    return [f"-j REJECT --reject-with {s.rng.choice(REJECT6 if s.v6 else REJECT4)}"]


def _connmark(s: Spot) -> list[str]:
    return s.rng.choice(
        [
            ["-j CONNMARK --set-mark 1", "-m connmark --mark 1 -j DROP"],
            ["-j MARK --set-mark 5", "-j CONNMARK --save-mark", "-m connmark --mark 5 -j DROP"],
            ["-j CONNMARK --set-mark 0x30", "-j CONNMARK --restore-mark", "-m mark --mark 0x30 -j DROP"],
            ["-j CONNMARK --set-xmark 0x7/0xf"],
        ]
    )


def _ttl(s: Spot) -> list[str]:
    name, word = ("HL", "hl") if s.v6 else ("TTL", "ttl")
    change = s.rng.choice([f"--{word}-set 40", f"--{word}-inc 3", f"--{word}-dec 2", f"--{word}-set 1"])
    return [f"-j {name} {change}"]


def _ct(s: Spot) -> list[str]:
    return s.rng.choice(
        [["-j CT --notrack"], ["-j CT --zone 5"], ["-p tcp -j CT --helper ftp"], ["-j CT --ctevents new"],
         ["-j CT --ctevents new", "-j CT --notrack"]]
    )  # fmt: skip


def _set(s: Spot) -> list[str]:
    name = s.new_set("hash:ip", s.addr) if s.plan.chance(0.5) else s.new_set("hash:ip,port")
    sides = "src" if "hash:ip,port" not in s.sets[-1] and len(s.sets[-1].split()) < 5 else "dst,dst"
    sides = "dst,dst" if any(f"{name} hash:ip,port" in line for line in s.sets) else sides
    way = s.rng.choice(["add", "add", "del"])
    return [f"-j SET --{way}-set {name} {sides}", f"-m set --match-set {name} {sides} -j DROP"]


def _map_set(s: Spot) -> list[str]:
    name = s.new_set("hash:ip skbinfo", f"{s.addr} skbmark 0x30/0xff")
    return [f"-j SET --map-set {name} dst --map-mark", "-m mark --mark 0x30/0xff -j DROP"]


def _hmark(s: Spot) -> list[str]:
    seed, kinds = s.rng.randrange(1 << 32), s.rng.choice(["src,dst", "src,dst,sport,dport", "src,dst,proto"])
    more = {"src,dst,sport,dport": "src,dst,sport,dport,proto", "src,dst,proto": "src,dst,proto"}.get(
        kinds, kinds
    )
    more += s.rng.choice(["", "", ",ct"])
    return [
        f"-j HMARK --hmark-tuple {more} --hmark-mod 2 --hmark-offset 100 --hmark-rnd {seed:#x}",
        "-m mark --mark 100 -j DROP",
    ]


def _idletimer(s: Spot) -> list[str]:
    return [f"-j IDLETIMER --timeout 600 --label nvt{s.plan.unique()}"]


def _rateest(s: Spot) -> list[str]:
    name = f"nve{s.plan.unique()}"
    return [f"-j RATEEST --rateest-name {name} --rateest-interval 250ms --rateest-ewmalog 500ms"]


def _translate(s: Spot) -> list[str]:
    """Translate: the destination before routing, the source after."""
    to = s.rng.choice(s.plan.addresses(s.v6))
    shown = f"[{to}]" if s.v6 else to
    own = s.plan.address_in(s.place, s.v6)
    net = f"{to.split('::')[0]}::/64" if s.v6 else f"{to.rpartition('.')[0]}.0/24"
    random = s.rng.choice(["", "", "", " --random", " --persistent"])
    if s.chain in ("PREROUTING", "OUTPUT"):
        choices = [
            [f"-p tcp -j DNAT --to-destination {shown}:8080{random}"],
            [f"-j DNAT --to-destination {to}"],
            ["-p tcp -j REDIRECT --to-ports 8080"],
            ["-j REDIRECT"],
            [f"-j NETMAP --to {net}"],
        ]
    elif s.chain == "POSTROUTING":
        choices = [
            ["-j MASQUERADE"],
            ["-p tcp -j MASQUERADE --to-ports 40000-40100"],
            ["-p udp -j MASQUERADE --random-fully"],
            [f"-j SNAT --to-source {own}"],
            [f"-p tcp -j SNAT --to-source {f'[{own}]' if s.v6 else own}:5000-6000{random}"],
            [f"-j NETMAP --to {net}"],
        ]
    else:
        choices = [[f"-j SNAT --to-source {own}"]]
    return s.rng.choice(choices)


def _prefixes(s: Spot) -> list[str]:
    outgoing = s.chain in ("INPUT", "POSTROUTING")
    name = "SNPT" if outgoing else "DNPT"
    side = "-s" if outgoing else "-d"
    net = f"{s.addr.split('::')[0]}::/64"
    return [f"{side} {net} -j {name} --src-pfx {net} --dst-pfx fd77:{s.rng.randrange(1, 99)}::/64"]


TARGETS: dict[str, Target] = {
    "DROP": _rules("-j DROP"),
    "ACCEPT": _rules("-j ACCEPT"),
    "RETURN": lambda s: ["-j RETURN", *([] if s.table == "nat" else ["-j DROP"])],
    "LOG": _rules("-j LOG --log-prefix nv"),
    "NFLOG": _rules("-j NFLOG --nflog-group 9"),
    "AUDIT": _rules("-j AUDIT --type drop"),
    "TRACE": _rules("-j TRACE"),
    "REJECT": _rules("-j REJECT"),
    "REJECT-with": _reject_with,
    "REJECT-tcp-reset": _rules("-p tcp -j REJECT --reject-with tcp-reset"),
    "MARK": _one_of(
        ("-j MARK --set-xmark 0x10/0xf0", "-m mark --mark 0x10/0xf0 -j DROP"),
        ("-j MARK --set-xmark 0x10/0xf0",),
        ("-j MARK --or-mark 0x1",),
    ),
    "CONNMARK": _connmark,
    "HMARK": _hmark,
    "TTL": _ttl,
    "DSCP": _one_of(("-j DSCP --set-dscp 0x04",), ("-j DSCP --set-dscp 0x04", "-m dscp --dscp 0x04 -j DROP")),
    "TOS": _one_of(("-j TOS --set-tos 0x10/0x3f",), ("-j TOS --set-tos 0x10", "-m tos --tos 0x10 -j DROP")),
    "ECN": _rules("-p tcp -j ECN --ecn-tcp-remove"),
    "CHECKSUM": _rules("-j CHECKSUM --checksum-fill"),
    "CLASSIFY": _rules("-j CLASSIFY --set-class 1:2"),
    "TCPMSS": _one_of(
        ("-p tcp --syn -j TCPMSS --set-mss 1000",),
        ("-p tcp --syn -j TCPMSS --clamp-mss-to-pmtu",),
    ),
    "TCPOPTSTRIP": _rules("-p tcp --syn -j TCPOPTSTRIP --strip-options timestamp"),
    "NOTRACK": _rules("-j NOTRACK"),
    "CT": _ct,
    "SET": _set,
    "SET-map": _map_set,
    "IDLETIMER": _idletimer,
    "RATEEST": _rateest,
    "NFQUEUE": _one_of(("-j NFQUEUE --queue-num 77",), ("-j NFQUEUE --queue-num 77 --queue-bypass",)),
    "NAT": _translate,
    "NPT": _prefixes,
}
ANYWHERE = ("DROP", "DROP", "ACCEPT", "RETURN", "LOG", "NFLOG", "AUDIT", "SET")
MANGLE = ("MARK", "CONNMARK", "HMARK", "TTL", "DSCP", "TOS", "SET-map", "CHECKSUM", "IDLETIMER", "RATEEST")
MANGLE4 = ("ECN",)
MANGLE6 = ("NPT",)
MANGLE_OUT = ("CLASSIFY", "TCPMSS", "TCPOPTSTRIP")


def choices(s: Spot) -> list[str]:
    """Name the targets that may stand in a spot."""
    if s.table == "nat":
        return ["NAT"] * 6 + ["ACCEPT", "RETURN"]
    names = list(ANYWHERE)
    if s.table == "filter":
        names += ["REJECT", "REJECT-with", "REJECT-tcp-reset", "DROP", "NFQUEUE"]
    if s.table == "raw":
        names += ["NOTRACK", "CT", "CT", "CT", "TRACE"]
    if s.table == "mangle":
        names += [*MANGLE, *MANGLE, *(MANGLE6 if s.v6 else MANGLE4)]
        if s.chain in ("FORWARD", *OUTGOING):
            names += MANGLE_OUT
    if s.table == "mangle" and s.chain == "FORWARD":
        names = [name for name in names if name != "NPT"]
    return names
