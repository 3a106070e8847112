"""What rules match on in a packet's headers and meta data."""

from __future__ import annotations

from lab.plan import mac_of
from lab.randomnet.model import PORT
from lab.randomnet.nft_rule import RuleContext, Words

OPTIONS = (
    "tcp option maxseg exists",
    "tcp option sack-perm exists",
    "tcp option timestamp exists",
    "tcp option window exists",
    "tcp option fastopen missing",
    "tcp option maxseg size > 500",
)


def daddr(c: RuleContext) -> str:
    return f"{c.family} daddr {c.dst}"


def saddr(c: RuleContext) -> str:
    c.aim["src"] = c.src_place
    return f"{c.family} saddr {c.rng.choice([c.src, c.range_of(c.src)])}"


def dport(c: RuleContext) -> str:
    c.aim["proto"] = c.rng.choice(["tcp", "udp"])
    words = ["8080", "8000-9000", "{ 80, 81, 8080 }", "!= 81", "!= 1-79", "< 8081", ">= 8080"]
    return f"{c.aim['proto']} dport {c.rng.choice(words)}"


def sport(c: RuleContext) -> str:
    return c.rng.choice(["tcp sport 20000-20010", "udp sport >= 20005", "th sport < 20010"])


def raw_payload(c: RuleContext) -> str:
    c.aim["proto"] = c.rng.choice(["tcp", "udp"])
    return c.rng.choice([f"@th,16,16 {PORT}", "@th,16,8 0x1f", "@nh,0,4 6" if c.v6 else "@nh,0,8 0x45"])


def ip_header(c: RuleContext) -> str:
    words = [
        "ip version 4",
        "ip hdrlength 5",
        "ip length > 60",
        "ip frag-off & 0x4000 != 0",
        "ip ecn not-ect",
    ]
    words6 = ["ip6 version 6", "ip6 length > 20", "ip6 nexthdr { tcp, udp }", "ip6 ecn not-ect"]
    return c.rng.choice(words6 if c.v6 else words)


def tcp_header(c: RuleContext) -> str:
    c.aim["proto"] = "tcp"
    return c.rng.choice(["tcp doff 10", "tcp ackseq 0", "tcp urgptr 0", "tcp doff < 6", "tcp window > 0"])


def udp_header(c: RuleContext) -> str:
    c.aim["proto"] = "udp"
    return c.rng.choice(["udp length > 20", "udp length < 1000"])


def icmp_header(c: RuleContext) -> str:
    c.aim["proto"] = "icmp"
    return f"{c.icmp} {c.rng.choice(['code 0', 'id > 20000', 'type { echo-request, echo-reply }'])}"


def inner_header(c: RuleContext) -> str:
    c.aim["proto"] = "udp"
    return c.rng.choice(["@ih,0,8 > 0", "@ih,0,16 0x0800"])


def ether(c: RuleContext) -> str:
    macs = [mac_of(pod.ipv4) for pod in c.plan.pods] + [mac_of(node.gateway4) for node in c.plan.nodes]
    macs += [node.mac for node in c.plan.nodes]
    kind = "ip6" if c.v6 else "ip"
    return c.rng.choice(
        [f"ether saddr {c.rng.choice(macs)}", f"ether daddr != {c.rng.choice(macs)}", f"ether type {kind}"]
    )


def tcp_option(c: RuleContext) -> str:
    c.aim["proto"] = "tcp"
    return c.rng.choice(OPTIONS)


def extension_header(c: RuleContext) -> str:
    if c.v6:
        return c.rng.choice(
            ["exthdr hbh missing", "exthdr frag missing", "exthdr dst missing", "exthdr rt missing"]
        )
    return c.rng.choice(["ip option rr missing", "ip option lsrr missing"])


def mark(c: RuleContext) -> str:
    c.aim.update(mark=0x10, src=c.place)
    return c.rng.choice(["meta mark 0x10", "meta mark & 0xf0 == 0x10", "meta mark != 0"])


def ifname(c: RuleContext) -> str:
    word = "oifname" if c.hook in ("output", "postrouting") and c.rng.random() < 0.8 else "iifname"
    return f"{word} " + c.rng.choice([*c.devs, '"v*"', "{ eth0, lo }"])


def ifindex(c: RuleContext) -> str:
    return f"{'oif' if c.hook in ('output', 'postrouting') else 'iif'} {c.rng.choice(['lo', 'eth0'])}"


def ifkind(c: RuleContext) -> str:
    way = "oif" if c.hook in ("output", "postrouting") else "iif"
    return c.rng.choice([f'meta {way}kind "veth"', f'meta {way}kind "bridge"', f"meta {way}type ether"])


def ifgroup(c: RuleContext) -> str:
    return f"{'oifgroup' if c.hook in ('output', 'postrouting') else 'iifgroup'} {c.rng.choice(['default', '!= 7'])}"


def pkttype(c: RuleContext) -> str:
    return f"meta pkttype {c.rng.choice(['host', 'unicast', '!= broadcast'])}"


def sender(c: RuleContext) -> str:
    c.aim["src"] = c.place
    return c.rng.choice(["meta skuid 0", "meta skuid != 7", "meta skgid 0", "meta cgroup 0"])


def anybody(c: RuleContext) -> str:
    """Match what no state tells: the time, a priority, a processor."""
    words = [
        "meta cpu 0",
        'meta hour > "00:00"',
        "meta day 1",
        "meta priority 0",
        "rt classid 0",
        "meta ipsec missing",
    ]
    if c.hook not in ("prerouting", "input", "forward"):
        words.pop()
    return c.rng.choice(words)


def l4proto(c: RuleContext) -> str:
    icmp = "ipv6-icmp" if c.v6 else "icmp"
    return f"meta l4proto {c.rng.choice(['tcp', 'udp', icmp, '{ tcp, udp }'])}"


def icmp_type(c: RuleContext) -> str:
    c.aim["proto"] = "icmp"
    return f"{c.icmp} type {c.rng.choice(['echo-request', 'echo-reply'])}"


def tcp_flags(c: RuleContext) -> str:
    c.aim["proto"] = "tcp"
    return c.rng.choice(
        ["tcp flags & (syn | ack) == syn", "tcp flags syn / syn,ack,rst", "tcp flags & rst == rst"]
    )


def length(c: RuleContext) -> str:
    return f"meta length {c.rng.choice(['> 100', '60-90', '< 84', '!= 60'])}"


def ttl(c: RuleContext) -> str:
    return f"{'ip6 hoplimit' if c.v6 else 'ip ttl'} {c.rng.choice(['> 60', '< 5', '64', '63'])}"


def dscp(c: RuleContext) -> str:
    c.aim["tos"] = 0x10
    return f"{c.family} dscp {c.rng.choice(['0x04', 'cs0', '!= cs0'])}"


def protocol(c: RuleContext) -> str:
    return f"meta protocol {c.family}"


def nfproto(c: RuleContext) -> str:
    return f"meta nfproto {'ipv6' if c.v6 else 'ipv4'}"


def nexthop(c: RuleContext) -> str:
    node = c.rng.choice(c.plan.nodes)
    hop = c.rng.choice([c.dst, node.ipv6 if c.v6 else node.ipv4])
    return c.rng.choice([f"rt {c.family} nexthop {hop}", f"rt {c.family} nexthop != {hop}"])


HEADER_MATCHES: dict[str, Words] = {
    "daddr": daddr,
    "saddr": saddr,
    "dport": dport,
    "sport": sport,
    "raw-payload": raw_payload,
    "ip-header": ip_header,
    "tcp-header": tcp_header,
    "udp-header": udp_header,
    "icmp-header": icmp_header,
    "inner-header": inner_header,
    "ether": ether,
    "tcp-option": tcp_option,
    "extension-header": extension_header,
    "mark": mark,
    "ifname": ifname,
    "ifindex": ifindex,
    "ifkind": ifkind,
    "ifgroup": ifgroup,
    "pkttype": pkttype,
    "sender": sender,
    "anybody": anybody,
    "l4proto": l4proto,
    "icmp-type": icmp_type,
    "tcp-flags": tcp_flags,
    "length": length,
    "ttl": ttl,
    "dscp": dscp,
    "protocol": protocol,
    "nfproto": nfproto,
    "rt-nexthop": nexthop,
}
# Where a match is not allowed everywhere.
HEADER_HOOKS: dict[str, frozenset[str]] = {
    "ether": frozenset(("prerouting", "input", "forward")),
    "rt-nexthop": frozenset(("forward", "output", "postrouting", "input")),
    "sender": frozenset(("output", "postrouting", "forward", "input")),
}
