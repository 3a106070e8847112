"""Every match of iptables that this generator knows, in words that packets of the network may or may not fit."""

from __future__ import annotations

from collections.abc import Callable

from lab.randomnet.model import PORT
from lab.randomnet.xt_spot import INCOMING, OUTGOING, Spot

Match = Callable[[Spot], str]


def _one_of(*texts: str) -> Match:
    return lambda s: s.rng.choice(texts)


def _by_family(four: tuple[str, ...], six: tuple[str, ...]) -> Match:
    return lambda s: s.rng.choice(six if s.v6 else four)


def _addrs(s: Spot) -> str:
    return s.rng.choice([f"-d {s.addr}", f"! -s {s.addr}", f"-s {s.addr}"])


def _devs(s: Spot) -> str:
    word = "-o" if s.chain in OUTGOING else "-i"
    return f"{word} {s.rng.choice(['eth0', 'br0', 'v+'])}"


def _iprange(s: Spot) -> str:
    head = s.addr.rpartition("::" if s.v6 else ".")[0]
    last = ("::1", "::ff") if s.v6 else (".1", ".250")
    wide = f"{head}{last[0]}-{head}{last[1]}"
    return s.rng.choice(
        [f"-m iprange --dst-range {s.addr}-{s.addr}", f"-m iprange ! --src-range {s.addr}-{s.addr}",
         f"-m iprange --dst-range {wide}"]
    )  # fmt: skip


def _conntrack(s: Spot) -> str:
    texts = [
        "--ctstate NEW",
        "--ctstate ESTABLISHED,RELATED",
        "! --ctstate INVALID",
        "--ctstate DNAT",
        f"--ctorigdst {s.addr}",
        f"--ctproto tcp --ctorigdstport {PORT}",
        "--ctdir ORIGINAL",
        "--ctdir REPLY",
        "--ctstatus NONE",
        "! --ctstatus SEEN_REPLY",
        "--ctstate NEW --ctreplsrcport 1024:65535",
    ]
    return f"-m conntrack {s.rng.choice(texts)}"


def _mac(s: Spot) -> str:
    macs = [pod.mac for pod in s.plan.pods] + [node.mac for node in s.plan.nodes]
    return f"-m mac {s.rng.choice(['', '! '])}--mac-source {s.rng.choice(macs)}"


def _physdev(s: Spot) -> str:
    ports = [pod.host for pod in s.plan.pods if pod.node == s.place and pod.how == "bridge"] or ["v11"]
    texts = [
        "--physdev-is-in",
        f"--physdev-in {s.rng.choice(ports)}",
        f"! --physdev-in {s.rng.choice(ports)}",
    ]
    if s.chain in ("FORWARD", "POSTROUTING"):
        texts += ["--physdev-is-bridged", "! --physdev-is-bridged", "--physdev-is-out"]
        texts += [f"--physdev-is-bridged --physdev-out {s.rng.choice(ports)}"]
    return f"-m physdev {s.rng.choice(texts)}"


def _devgroup(s: Spot) -> str:
    side = "dst" if s.chain in OUTGOING else "src"
    return f"-m devgroup {s.rng.choice(['', '! '])}--{side}-group {s.rng.choice(['0', '5'])}"


def _u32(s: Spot) -> str:
    if s.v6:
        return s.rng.choice(["-m u32 --u32 4&0xFF00>>8=6", "-m u32 --u32 4&0xFF00>>8=17,58"])
    return s.rng.choice(
        ["-m u32 --u32 6&0xFF=17", "-m u32 --u32 6&0xFF=1,6", "-m u32 --u32 0>>22&0x3C@0&0xFFFF=8080",
         "-m u32 --u32 0&0xFFFF=0x3c:0x54"]
    )  # fmt: skip


def _string(s: Spot) -> str:
    algo = s.rng.choice(["bm", "kmp"])
    return s.rng.choice(
        [
            f"-m string --algo {algo} --string 'nvp'",
            f"-m string --algo {algo} --string 'zzzzzz' --from 2000",
            f"-m string --algo {algo} ! --string 'zzzzzz' --from 2000",
            f"-m string --algo {algo} --hex-string '|1f90|' --from 20 --to 46",
        ]
    )


def _nfacct(s: Spot) -> str:
    name = f"nva{s.plan.unique()}"
    s.accounts.append(name + s.rng.choice(["", "", " 1000000000"]))
    return f"-m nfacct --nfacct-name {name}"


def _recent(s: Spot) -> str:
    name = f"nvr{s.plan.unique()}"
    return s.rng.choice(
        [
            f"-m recent --set --name {name} --rsource",
            f"-m recent --set --name {name} --rdest",
            f"-m recent ! --set --name {name} --rsource",
            f"-m recent --set --name {name} --rsource -m recent --rcheck --seconds 60 --name {name} --rsource",
            f"-m recent --set --name {name} --rsource -m recent --update --hitcount 1 --name {name} --rsource",
            f"-m recent --set --name {name} --rdest -m recent --remove --name {name} --rdest",
            f"-m recent ! --rcheck --name {name} --rsource",
        ]
    )


def _hashlimit(s: Spot) -> str:
    mode = s.rng.choice(["srcip", "dstip,dstport", "srcip,dstip"])
    way = s.rng.choice(["--hashlimit-upto", "--hashlimit-above"])
    return f"-m hashlimit {way} 1000/sec --hashlimit-mode {mode} --hashlimit-name nvh{s.plan.unique()}"


def _connlabel(s: Spot) -> str:
    bit = s.rng.randrange(1, 100)
    return s.rng.choice(
        [f"-m connlabel --label {bit} --set", f"-m connlabel ! --label {bit}",
         f"-m connlabel --label {bit} --set -m connlabel --label {bit}"]
    )  # fmt: skip


def _cluster(s: Spot) -> str:
    node, seed = s.rng.choice([1, 2]), s.rng.randrange(1 << 32)
    return f"-m cluster --cluster-total-nodes 2 --cluster-local-node {node} --cluster-hash-seed {seed:#x}"


def _rpfilter(s: Spot) -> str:
    flags = s.rng.choice(["", "--loose", "--validmark", "--accept-local", "--loose --accept-local"])
    return f"-m rpfilter {flags} {s.rng.choice(['', '--invert'])}".strip()


def _sets(s: Spot) -> str:
    kind = s.rng.choice(sorted(SETS))
    s.kinds.append(kind)
    return SETS[kind](s)


def _set_words(s: Spot, name: str, sides: str, more: str = "") -> str:
    return f"-m set {s.rng.choice(['', '! '])}--match-set {name} {sides}{more}"


def _hash_ip(s: Spot) -> str:
    options = s.rng.choice(["", " counters", " timeout 600", " netmask 24" if not s.v6 else "", " skbinfo"])
    more = s.rng.choice(["", " ! --update-counters"]) if "counters" in options else ""
    return _set_words(s, s.new_set(f"hash:ip{options}", s.addr), s.rng.choice(["src", "dst"]), more)


def _net_of(s: Spot) -> str:
    return f"{s.addr.split('::')[0]}::/64" if s.v6 else f"{s.addr.rpartition('.')[0]}.0/24"


def _hash_net(s: Spot) -> str:
    name = s.new_set("hash:net", _net_of(s), f"{s.addr} nomatch")
    more = s.rng.choice(["", "", " --return-nomatch"])
    return _set_words(s, name, s.rng.choice(["src", "dst"]), more)


def _hash_ip_port(s: Spot) -> str:
    icmp = f"{s.addr},{'icmpv6:128/0' if s.v6 else 'icmp:8/0'}"
    return _set_words(s, s.new_set("hash:ip,port", f"{s.addr},tcp:{PORT}", icmp), "dst,dst")


def _hash_ip_port_ip(s: Spot) -> str:
    other = s.plan.address_in(s.rng.choice(s.senders()), s.v6)
    name = s.new_set("hash:ip,port,ip", f"{s.addr},udp:{PORT},{other}", f"{s.addr},tcp:{PORT},{other}")
    return _set_words(s, name, "dst,dst,src")


def _hash_ip_port_net(s: Spot) -> str:
    other = s.plan.address_in(s.rng.choice(s.senders()), s.v6)
    net = f"{other.split('::')[0]}::/64" if s.v6 else f"{other.rpartition('.')[0]}.0/24"
    return _set_words(s, s.new_set("hash:ip,port,net", f"{s.addr},tcp:{PORT},{net}"), "dst,dst,src")


def _hash_net_port(s: Spot) -> str:
    return _set_words(s, s.new_set("hash:net,port", f"{_net_of(s)},tcp:8000-8090"), "dst,dst")


def _hash_net_iface(s: Spot) -> str:
    side = "dst" if s.chain in OUTGOING else "src"
    dev = s.rng.choice(["eth0", "br0", "physdev:eth0"])
    return _set_words(s, s.new_set("hash:net,iface", f"{_net_of(s)},{dev}"), f"dst,{side}")


def _bitmap_ip(s: Spot) -> str:
    if s.v6:
        return _hash_ip(s)
    return _set_words(s, s.new_set(f"bitmap:ip range {_net_of(s)}", s.addr), s.rng.choice(["src", "dst"]))


def _bitmap_ip_mac(s: Spot) -> str:
    if s.v6 or s.chain in OUTGOING:
        return _hash_ip(s)
    owner = next((pod for pod in s.plan.pods if pod.ipv4 == s.addr), None)
    add = f"{s.addr},{owner.mac}" if owner is not None else s.addr
    return _set_words(s, s.new_set(f"bitmap:ip,mac range {_net_of(s)}", add), "src,src")


def _bitmap_port(s: Spot) -> str:
    return _set_words(s, s.new_set("bitmap:port range 0-9000", str(PORT)), s.rng.choice(["src", "dst"]))


def _list_set(s: Spot) -> str:
    one = s.new_set("hash:ip", s.addr)
    two = s.new_set("hash:net", _net_of(s), f"{s.addr} nomatch")
    return _set_words(s, s.new_set("list:set", two, one), s.rng.choice(["src", "dst"]))


SETS: dict[str, Match] = {
    "hash-ip": _hash_ip,
    "hash-net": _hash_net,
    "hash-ip-port": _hash_ip_port,
    "hash-ip-port-ip": _hash_ip_port_ip,
    "hash-ip-port-net": _hash_ip_port_net,
    "hash-net-port": _hash_net_port,
    "hash-net-iface": _hash_net_iface,
    "bitmap-ip": _bitmap_ip,
    "bitmap-ip-mac": _bitmap_ip_mac,
    "bitmap-port": _bitmap_port,
    "list-set": _list_set,
}
MATCHES: dict[str, Match] = {
    "address": _addrs,
    "device": _devs,
    "iprange": _iprange,
    "set": _sets,
    "comment": _one_of('-m comment --comment "why"'),
    "conntrack": _conntrack,
    "state": _one_of("-m state --state NEW", "-m state --state ESTABLISHED,RELATED"),
    "multiport": _one_of(
        "-p tcp -m multiport --dports 80,81,8080",
        "-p udp -m multiport --dports 8000:9000,53",
        "-p tcp -m multiport --sports 20000:20010",
        "-p tcp -m multiport ! --ports 81,443",
    ),
    "tcp": _one_of(
        "-p tcp --dport 8080", "-p tcp --syn", "-p tcp --tcp-flags SYN,ACK SYN", "-p tcp ! --sport 20003"
    ),
    "tcp-option": _one_of(
        "-p tcp --tcp-option 2", "-p tcp --tcp-option 8", "-p tcp --tcp-option 30", "-p tcp ! --tcp-option 4"
    ),
    "udp": _one_of("-p udp --dport 8080", "-p udp --sport 20000:20012"),
    "icmp": _by_family(
        ("-p icmp --icmp-type 8", "-p icmp --icmp-type 3", "-p icmp ! --icmp-type 0"),
        ("-p ipv6-icmp --icmpv6-type 128", "-p ipv6-icmp ! --icmpv6-type 129"),
    ),
    "mark": _one_of("-m mark --mark 0x10/0xf0", "-m mark ! --mark 0x0"),
    "addrtype": _by_family(
        ("-m addrtype --dst-type LOCAL", "-m addrtype ! --dst-type LOCAL", "-m addrtype --src-type UNICAST"),
        (
            "-m addrtype --dst-type LOCAL",
            "-m addrtype ! --dst-type LOCAL",
            "-m addrtype --src-type UNICAST",
            "-m addrtype --dst-type UNREACHABLE",
            "-m addrtype ! --src-type ANYCAST",
        ),
    ),
    "statistic": _one_of(
        "-m statistic --mode random --probability 0.5", "-m statistic --mode nth --every 2 --packet 0"
    ),
    "length": _one_of("-m length --length 60:84", "-m length ! --length 0:100"),
    "ttl": _by_family(
        ("-m ttl --ttl-gt 60", "-m ttl --ttl-lt 5", "-m ttl ! --ttl-eq 64"),
        ("-m hl --hl-gt 60", "-m hl --hl-lt 5"),
    ),
    "dscp": _one_of("-m dscp --dscp 0x04", "-m dscp ! --dscp 0x04"),
    "tos": _one_of("-m tos --tos 0x10/0x3f", "-m tos ! --tos 0x10"),
    "ecn": _one_of("-m ecn --ecn-ip-ect 0", "-p tcp -m ecn ! --ecn-tcp-cwr", "-p tcp -m ecn --ecn-tcp-ece"),
    "limit": _one_of("-m limit --limit 1000/sec"),
    "hashlimit": _hashlimit,
    "u32": _u32,
    "string": _string,
    "pkttype": _one_of("-m pkttype --pkt-type unicast"),
    "connmark": _one_of("-m connmark --mark 0x0", "-m connmark ! --mark 0x1"),
    "physdev": _physdev,
    "mac": _mac,
    "devgroup": _devgroup,
    "owner": _one_of("-m owner --uid-owner 0", "-m owner --socket-exists", "-m owner ! --gid-owner 0"),
    "recent": _recent,
    "socket": _one_of("-m socket", "-m socket --nowildcard", "-m socket --transparent"),
    "rpfilter": _rpfilter,
    "cpu": _one_of("-m cpu --cpu 0"),
    "nfacct": _nfacct,
    "cgroup": _one_of("-m cgroup --cgroup 7", "-m cgroup ! --cgroup 7"),
    "helper": _one_of("-m helper ! --helper ftp"),
    "tcpmss": _one_of("-p tcp --syn -m tcpmss --mss 1000:1500", "-p tcp -m tcpmss ! --mss 1:100"),
    "time": _one_of("-m time --timestart 00:00 --timestop 23:59:59", "-m time --weekdays Mon"),
    "connbytes": _one_of(
        "-m connbytes --connbytes 1:1 --connbytes-dir original --connbytes-mode packets",
        "-m connbytes --connbytes 0:70 --connbytes-dir both --connbytes-mode bytes",
        "-m connbytes --connbytes 0:0 --connbytes-dir reply --connbytes-mode packets",
    ),
    "connlimit": _one_of("-m connlimit --connlimit-upto 500", "-m connlimit --connlimit-above 0"),
    "connlabel": _connlabel,
    "cluster": _cluster,
    "bpf": _one_of('-m bpf --bytecode "1,6 0 0 1"'),
    "realm": _one_of("-m realm --realm 0", "-m realm ! --realm 5"),
    "policy": _one_of("DIR --pol none"),
    "quota": _one_of("-m quota --quota 100000000"),
    "osf": _one_of("-p tcp -m osf --genre Linux"),
    "ipv6header": _one_of("-m ipv6header --header prot --soft", "-m ipv6header ! --header frag --soft"),
}
FLOW = frozenset(
    ("conntrack", "state", "connmark", "helper", "connbytes", "connlimit", "connlabel", "cluster")
)
ONLY_V4 = frozenset(("realm", "osf"))
ONLY_V6 = frozenset(("ipv6header",))
# Matches that stand in some chains only.
CHAINS: dict[str, tuple[str, ...]] = {
    "owner": OUTGOING,
    "cgroup": ("INPUT", *OUTGOING),
    "mac": INCOMING,
    "socket": ("PREROUTING", "INPUT"),
    "rpfilter": ("PREROUTING",),
    "osf": INCOMING,
    "realm": ("INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
}
# Headers that the network's packets don't have: such rules stand there, and catch nothing.
QUIET4 = (
    "-p sctp -m sctp --dport 80", "-p dccp -m dccp --dport 80", "-p esp -m esp --espspi 80",
    "-p ah -m ah --ahspi 80",
)  # fmt: skip
QUIET6 = (
    "-p sctp -m sctp ! --dport 80", "-m frag --fragid 1", "-m hbh", "-m dst", "-m rt", "-m ah --ahspi 80",
    "-m eui64", "-m srh --srh-next-hdr 17", "-m ipv6header --header hop,frag",
)  # fmt: skip


def usable(name: str, spot: Spot) -> bool:
    """Tell whether a match may stand in a spot."""
    if name in FLOW and spot.table == "raw":
        return False
    if name in (ONLY_V4 if spot.v6 else ONLY_V6):
        return False
    if name == "rpfilter" and spot.table not in ("raw", "mangle"):
        return False
    if name == "physdev" and spot.chain not in INCOMING and spot.chain != "POSTROUTING":
        return False
    return spot.chain in CHAINS.get(name, (spot.chain,))


def words_of(name: str, spot: Spot) -> str:
    """Write a match."""
    words = MATCHES[name](spot)
    way = "out" if spot.chain in OUTGOING else "in"
    return words.replace("DIR", f"-m policy --dir {way}")
