"""What nft calls the fields that expressions load, and how it writes their values."""

from __future__ import annotations

from typing import Any

from netviz.core.model.addr import format_ip, format_mac
from netviz.core.sim.packet import PROTO_NAMES

META = [
    "meta length",
    "meta protocol",
    "meta priority",
    "meta mark",
    "iif",
    "oif",
    "iifname",
    "oifname",
    "iiftype",
    "oiftype",
    "meta skuid",
    "meta skgid",
    "meta nftrace",
    "meta rtclassid",
    "meta secmark",
    "meta nfproto",
    "meta l4proto",
    "meta ibrname",
    "meta obrname",
    "meta pkttype",
    "meta cpu",
    "iifgroup",
    "oifgroup",
    "meta cgroup",
    "meta random",
    "meta ipsec",
    "meta iifkind",
    "meta oifkind",
    "meta ibrpvid",
    "meta ibrvproto",
    "meta time",
    "meta day",
    "meta hour",
    "meta sdif",
    "meta sdifname",
    "meta broute",
    "meta ibrhwaddr",
]
CT = [
    "state",
    "direction",
    "status",
    "mark",
    "secmark",
    "expiration",
    "helper",
    "l3proto",
    "saddr",
    "daddr",
    "protocol",
    "proto-src",
    "proto-dst",
    "label",
    "packets",
    "bytes",
    "avgpkt",
    "zone",
    "event",
    "ip saddr",
    "ip daddr",
    "ip6 saddr",
    "ip6 daddr",
    "id",
]
RT = ("classid", "ip nexthop", "ip6 nexthop", "mtu", "ipsec")
SOCKET = ("transparent", "mark", "wildcard", "cgroupv2")
TCP_OPTIONS = {
    2: "maxseg",
    3: "window",
    4: "sack-perm",
    5: "sack",
    8: "timestamp",
    30: "mptcp",
    34: "fastopen",
}
EXTENSIONS = {0: "hbh", 43: "rt", 44: "frag", 51: "auth", 60: "dst", 135: "mh"}
FIB_RESULTS = {1: "oif", 2: "oifname", 3: "type"}
FIB_FLAGS = ((1, "saddr"), (2, "daddr"), (4, "mark"), (8, "iif"), (16, "oif"))

ETHER = {
    (0, 6): "ether daddr",
    (6, 6): "ether saddr",
    (12, 2): "ether type",
    (14, 2): "vlan id",
    (16, 2): "vlan type",
}
IP = {
    (0, 1): "ip version",
    (1, 1): "ip dscp",
    (2, 2): "ip length",
    (4, 2): "ip id",
    (6, 2): "ip frag-off",
    (8, 1): "ip ttl",
    (9, 1): "ip protocol",
    (10, 2): "ip checksum",
    (12, 4): "ip saddr",
    (16, 4): "ip daddr",
}
IP6 = {
    (0, 1): "ip6 version",
    (0, 2): "ip6 dscp",
    (1, 1): "ip6 ecn",
    (1, 3): "ip6 flowlabel",
    (4, 2): "ip6 length",
    (6, 1): "ip6 nexthdr",
    (7, 1): "ip6 hoplimit",
    (8, 16): "ip6 saddr",
    (24, 16): "ip6 daddr",
}
ARP = {
    (0, 2): "arp htype",
    (2, 2): "arp ptype",
    (4, 1): "arp hlen",
    (5, 1): "arp plen",
    (6, 2): "arp operation",
    (8, 6): "arp saddr ether",
    (14, 4): "arp saddr ip",
    (18, 6): "arp daddr ether",
    (24, 4): "arp daddr ip",
}
PORTS = {(0, 2): "sport", (2, 2): "dport"}
TCP = {
    (4, 4): "sequence",
    (8, 4): "ackseq",
    (12, 1): "doff",
    (13, 1): "flags",
    (14, 2): "window",
    (16, 2): "checksum",
    (18, 2): "urgptr",
}
UDP = {(4, 2): "length", (6, 2): "checksum"}
ICMP = {(0, 1): "type", (1, 1): "code", (2, 2): "checksum", (4, 2): "id", (6, 2): "sequence", (4, 4): "mtu"}
ICMP_NAMES = {1: "icmp", 58: "icmpv6"}

# Fields of some bits: what the bytes are called, and the mask; what it is then called, and how far it is shifted.
BIT_FIELDS = {
    ("ip dscp", b"\xfc"): ("ip dscp", 2),
    ("ip dscp", b"\x03"): ("ip ecn", 0),
    ("ip version", b"\xf0"): ("ip version", 4),
    ("ip version", b"\x0f"): ("ip hdrlength", 0),
    ("ip6 dscp", b"\x0f\xc0"): ("ip6 dscp", 6),
    ("ip6 ecn", b"\x30"): ("ip6 ecn", 4),
    ("ip6 version", b"\xf0"): ("ip6 version", 4),
    ("ip6 flowlabel", b"\x0f\xff\xff"): ("ip6 flowlabel", 0),
    ("tcp doff", b"\xf0"): ("tcp doff", 4),
    ("vlan id", b"\x0f\xff"): ("vlan id", 0),
}

STATES = ((1, "invalid"), (2, "established"), (4, "related"), (8, "new"), (64, "untracked"))
STATUSES = (
    (1, "expected"), (2, "seen-reply"), (4, "assured"), (8, "confirmed"), (16, "snat"), (32, "dnat"), (512, "dying"),
)  # fmt: skip
TCP_FLAGS = (
    (1, "fin"),
    (2, "syn"),
    (4, "rst"),
    (8, "psh"),
    (16, "ack"),
    (32, "urg"),
    (64, "ecn"),
    (128, "cwr"),
)
ADDRESS_TYPES = (
    "unspec", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw",
)  # fmt: skip
PKTTYPES = ("host", "broadcast", "multicast", "other", "outgoing", "loopback")
FAMILIES = {1: "inet", 2: "ipv4", 3: "arp", 5: "netdev", 7: "bridge", 10: "ipv6"}
ETHER_TYPES = {0x0800: "ip", 0x0806: "arp", 0x86DD: "ip6", 0x8100: "8021q", 0x88A8: "8021ad"}
ICMP_TYPES = {
    0: "echo-reply",
    3: "destination-unreachable",
    5: "redirect",
    8: "echo-request",
    11: "time-exceeded",
}
ICMPV6_TYPES = {
    1: "destination-unreachable", 2: "packet-too-big", 3: "time-exceeded", 128: "echo-request", 129: "echo-reply",
    133: "nd-router-solicit", 134: "nd-router-advert", 135: "nd-neighbor-solicit", 136: "nd-neighbor-advert",
}  # fmt: skip
HEX = ("meta mark", "ct mark", "socket mark", "ct label", "ip frag-off", "ip6 flowlabel")
HOST_ORDER = ("meta ", "ct ", "iif", "oif", "fib", "numgen", "jhash", "symhash", "socket", "rt ")


def payload_name(a: dict[str, Any], family: int, proto: int) -> str:
    """Name a payload field as nft does, as far as the rule has said what the packet is."""
    base, at, length = a.get("base", 0), a.get("offset", 0), a.get("len", 0)
    if base == 0 and (at, length) in ETHER:
        return ETHER[at, length]
    if base == 1:
        table = {2: IP, 3: ARP, 10: IP6}.get(family, {})
        if (at, length) in table:
            return table[at, length]
        for (first, whole), name in table.items():  # a prefix of whole bytes
            if name.endswith("addr") and at == first and length < whole:
                return name
    if base == 2:
        name = transport_name(at, length, proto)
        if name:
            return name
    return f"@{('ll', 'nh', 'th', 'ih')[base & 3]},{at * 8},{length * 8}"


def transport_name(at: int, length: int, proto: int) -> str:
    """Name a field of the transport header; "" for one that has no name."""
    if proto in ICMP_NAMES:
        return f"{ICMP_NAMES[proto]} {ICMP[at, length]}" if (at, length) in ICMP else ""
    if (at, length) in PORTS:
        return f"{PROTO_NAMES.get(proto, 'th') if proto in (6, 17) else 'th'} {PORTS[at, length]}"
    table = {6: TCP, 17: UDP}.get(proto, {})
    if (at, length) in table:
        return f"{PROTO_NAMES[proto]} {table[at, length]}"
    return "icmp type" if (at, length) == (0, 1) and not proto else ""


def bit_field(name: str, mask: bytes) -> tuple[str, int]:
    """Name a field of some bits, and say how far it is shifted; -1: it has no name of its own."""
    return BIT_FIELDS.get((name, mask), (name, 0 if mask.strip(b"\xff") == b"" else -1))


def exthdr_name(a: dict[str, Any]) -> str:
    """Name an option or extension header."""
    kind, op = a.get("type", 0), a.get("op", 0)
    if op == 1:
        name = f"tcp option {TCP_OPTIONS.get(kind, kind)}"
        return f"{name} size" if kind == 2 and a.get("offset") == 2 and not a.get("flags") else name
    return f"ip option {kind}" if op == 2 else f"exthdr {EXTENSIONS.get(kind, kind)}"


def fib_name(a: dict[str, Any]) -> str:
    """Name a question to the FIB."""
    flags = a.get("flags", 0)
    words = " . ".join(name for bit, name in FIB_FLAGS if flags & bit)
    return f"fib {words} {FIB_RESULTS.get(a.get('result', 0), '?')}"


def _bits(number: int, names: tuple[tuple[int, str], ...]) -> str:
    return ",".join(name for bit, name in names if number & bit) or hex(number)


def value_text(name: str, data: bytes) -> str:
    """Write a value of a named field as nft does."""
    number = int.from_bytes(data, "little" if name.startswith(HOST_ORDER) else "big")
    last = name.rpartition(" ")[2]
    if last.endswith(("addr", "nexthop")) and len(data) in (4, 16):
        return format_ip(data)
    if name.startswith(("ether ", "arp")) and len(data) == 6:
        return format_mac(data)
    if name in ("iifname", "oifname") or name.endswith(
        ("kind", "brname", "sdifname", "fib oifname", "helper")
    ):
        return f'"{data.rstrip(bytes(1)).decode(errors="replace")}"'
    named = _named(name, data, number)
    if named:
        return named
    if not name and len(data) in (4, 16):
        return format_ip(data)
    return hex(number) if name in HEX or not name or "&" in name else str(number)


# nft's datatypes, of which a concatenation has six bits each: their bytes, and how nft writes a value.
TYPE_IP, TYPE_IP6, TYPE_ETHER, TYPE_PROTO, TYPE_SERVICE, TYPE_MARK = 7, 8, 9, 12, 13, 19
SIZES = {TYPE_IP: 4, TYPE_IP6: 16, TYPE_ETHER: 6, TYPE_PROTO: 1, TYPE_SERVICE: 2, TYPE_MARK: 4}


def typed_text(data_type: int, data: bytes) -> str:
    """Write a map's value as nft does, by its datatype; where that isn't known, as a number."""
    kinds = [data_type >> shift & 0x3F for shift in range(24, -1, -6) if data_type >> shift]
    parts, at = [], 0
    for kind in kinds:
        size = SIZES.get(kind, 0)
        part = data[at : at + size]
        if not size or len(part) < size:
            return value_text("", data)
        parts.append(_typed(kind, part))
        at += -(-size // 4) * 4
    return " . ".join(parts) or value_text("", data)


def _typed(kind: int, part: bytes) -> str:
    if kind in (TYPE_IP, TYPE_IP6):
        return format_ip(part)
    if kind == TYPE_ETHER:
        return format_mac(part)
    if kind == TYPE_PROTO:
        return _named("meta l4proto", part, part[0])
    number = int.from_bytes(part, "little" if kind == TYPE_MARK else "big")
    return f"{number:#x}" if kind == TYPE_MARK else str(number)


def _named(name: str, data: bytes, number: int) -> str:
    if name in ("meta l4proto", "ip protocol", "ip6 nexthdr") or (
        name.endswith(" protocol") and name.startswith("ct")
    ):
        return {58: "ipv6-icmp"}.get(data[0], PROTO_NAMES.get(data[0], str(data[0]))) if data else ""
    if name in ("meta protocol", "ether type", "vlan type", "arp ptype"):
        return ETHER_TYPES.get(int.from_bytes(data, "big"), hex(number))
    if name == "meta nfproto" or name.endswith("l3proto"):
        return FAMILIES.get(number, str(number))
    flags = {"ct state": STATES, "ct status": STATUSES, "tcp flags": TCP_FLAGS}.get(name)
    if flags is not None:
        return _bits(number, flags)
    if name.startswith("fib") and name.endswith("type"):
        return ADDRESS_TYPES[number] if number < len(ADDRESS_TYPES) else str(number)
    if name == "meta pkttype":
        return PKTTYPES[number] if number < len(PKTTYPES) else str(number)
    if name == "ct direction":
        return "reply" if number else "original"
    if name in ("icmp type", "icmpv6 type"):
        return (ICMPV6_TYPES if "v6" in name else ICMP_TYPES).get(number, str(number))
    return {1: "request", 2: "reply"}.get(number, "") if name == "arp operation" else ""
