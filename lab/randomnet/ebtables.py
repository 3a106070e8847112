"""ebtables rules on the nodes' bridges: its matches, its tables filter and nat, chains and targets."""

from __future__ import annotations

from collections.abc import Callable

from lab.randomnet.plan import Node, Plan, Pod


class Frame:
    """Where a rule stands: the node, a pod behind its bridge, and another one that may be the same."""

    def __init__(self, plan: Plan, node: Node, chain: str) -> None:
        pods = [pod for pod in node.pods if pod.how == "bridge"]
        self.plan, self.node, self.chain = plan, node, chain
        self.rng = plan.rng
        self.pod: Pod = plan.rng.choice(pods)
        self.other: Pod = plan.rng.choice(pods)


def _ip(f: Frame) -> str:
    no = f.rng.choice(["", "", "! "])
    return f.rng.choice(
        [
            f"-p IPv4 --ip-dst {no}{f.pod.ipv4}",
            f"-p IPv4 --ip-src {no}{f.node.cidr4}",
            f"-p IPv4 --ip-proto {no}tcp",
            f"-p IPv4 --ip-proto tcp --ip-dport {no}8000:9000",
            f"-p IPv4 --ip-proto udp --ip-sport {no}20000:20010",
            f"-p IPv4 --ip-proto icmp --ip-icmp-type {no}echo-request",
            f"-p IPv4 --ip-tos {no}0x10",
        ]
    )


def _ip6(f: Frame) -> str:
    no = f.rng.choice(["", "", "! "])
    return f.rng.choice(
        [
            f"-p IPv6 --ip6-dst {no}{f.pod.ipv6}",
            f"-p IPv6 --ip6-src {no}{f.node.cidr6}",
            f"-p IPv6 --ip6-proto tcp --ip6-dport {no}8080",
            f"-p IPv6 --ip6-proto ipv6-icmp --ip6-icmp-type {no}echo-request",
        ]
    )


def _macs(f: Frame) -> str:
    return f.rng.choice([f"-s {f.other.mac}", f"-d {f.pod.mac}", f"-s ! {f.other.mac}", "-d Unicast"])


def _ports(f: Frame) -> str:
    if f.chain in ("OUTPUT", "POSTROUTING"):
        return f"-o {f.pod.host}"
    if f.chain == "FORWARD":
        return f.rng.choice([f"-i {f.other.host} -o {f.pod.host}", f"-i ! {f.other.host}", "-o v+"])
    return f.rng.choice([f"-i {f.other.host}", "-i v+"])


def _mark(f: Frame) -> str:
    return f.rng.choice(["--mark 0x0", "--mark ! 0x10/0xf0", "--mark 0x10"])


def _pkttype(f: Frame) -> str:
    return f"--pkttype-type {f.rng.choice(['', '! '])}{f.rng.choice(['host', 'otherhost', 'broadcast'])}"


def _among(f: Frame) -> str:
    no = f.rng.choice(["", "! "])
    return f.rng.choice(
        [
            f"--among-dst {no}{f.pod.mac},{f.other.mac}",
            f"--among-src {f.other.mac}={f.other.ipv4},{f.pod.mac}={f.pod.ipv4}",
            f"--among-src {no}{f.other.mac},",
        ]
    )


def _limit(_f: Frame) -> str:
    return "--limit 1000/sec"


def _other(f: Frame) -> str:
    return f.rng.choice(["-p 802_1Q --vlan-id 3", "-d BGA --stp-type 1", "-p LENGTH --802_3-sap 0x42"])


MATCHES: dict[str, Callable[[Frame], str]] = {
    "ip": _ip,
    "ip6": _ip6,
    "mac": _macs,
    "port": _ports,
    "mark": _mark,
    "pkttype": _pkttype,
    "among": _among,
    "limit": _limit,
}
_CHAINS = {
    "filter": ("FORWARD", "FORWARD", "INPUT", "OUTPUT"),
    "nat": ("PREROUTING", "POSTROUTING", "OUTPUT"),
}
_DONE = ("ACCEPT", "CONTINUE")


def _target(f: Frame, table: str) -> tuple[str, list[str]]:
    if table == "nat":
        done = f.rng.choice(_DONE)
        if f.chain == "POSTROUTING":
            return "snat", [f"-p IPv4 -j snat --to-source 0a:58:00:00:00:99 --snat-target {done}"]
        if f.chain == "OUTPUT":
            return "dnat", [f"-p IPv4 -j dnat --to-destination {f.other.mac} --dnat-target {done}"]
        return f.rng.choice(
            [
                ("dnat", [f"-p IPv4 -j dnat --to-destination {f.other.mac} --dnat-target {done}"]),
                ("redirect", [f"-p IPv4 -j redirect --redirect-target {done}"]),
                ("arpreply", [f"-p ARP --arp-ip-dst 203.0.113.1 -j arpreply --arpreply-mac {f.pod.mac}"]),
            ]
        )
    return f.rng.choice(
        [
            ("DROP", ["-p IPv4 -j DROP", "-p IPv6 -j DROP"]),
            ("ACCEPT", ["-j ACCEPT"]),
            ("RETURN", ["-j RETURN"]),
            ("CONTINUE", ["-j CONTINUE", "-p IPv4 -j DROP"]),
            ("mark", ["-j mark --mark-set 0x10 --mark-target CONTINUE", "-p IPv4 --mark 0x10 -j DROP"]),
            ("mark", ["-j mark --mark-or 0x30 --mark-target RETURN"]),
            ("log", ["--log --log-prefix nv -j CONTINUE", "-p IPv4 -j DROP"]),
            ("nflog", ["--nflog-group 9 -j CONTINUE", "-p IPv4 -j DROP"]),
        ]
    )


def frames(plan: Plan) -> None:
    """Add rules to a node's bridge."""
    nodes = [node for node in plan.nodes if any(pod.how == "bridge" for pod in node.pods)]
    if not nodes or not plan.chance(0.3):
        return
    rng = plan.rng
    node = rng.choice(nodes)
    table = rng.choice(["filter", "filter", "nat"])
    rules, declared, features = [], [], []
    for _ in range(rng.choice([1, 2])):
        frame = Frame(plan, node, rng.choice(_CHAINS[table]))
        own = f"C{plan.unique()}X"
        name = rng.choice(sorted(MATCHES))
        target, does = _target(frame, table)
        declared.append(f":{own} RETURN")
        if plan.chance(0.3):
            rules.append(f"-A {frame.chain} {_other(frame)} -j DROP")
        rules.append(f"-A {frame.chain} {MATCHES[name](frame)} -j {own}")
        rules += [f"-A {own} {line}" for line in does]
        features += [(f"eb.{name}", own), (f"eb-target.{target}", own)]
        for _ in range(3):
            plan.aim(frame.pod.ipv4, src=rng.choice([frame.other.name, node.name, frame.other.name]))
        if name == "ip6":
            plan.aim(frame.pod.ipv6, src=frame.other.name)
    text = "\n".join([f"*{table}", *declared, *rules]) + "\n"
    tokens = [f"jump {own}" for _, own in features] + [f"-j {own}" for _, own in features]
    plan.add(f"eb-table.{table}", node.name, xtables={"ebtables-nft-restore": text}, tokens=tokens)
    for feature, own in features:
        plan.add(feature, node.name, tokens=[f"jump {own}", f"-j {own}"])
