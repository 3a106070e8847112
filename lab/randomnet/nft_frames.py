"""nftables rulesets that see frames: bridges, devices (netdev and inet ingress), ARP; and transparent proxies."""

from __future__ import annotations

from collections.abc import Callable

from lab.plan import mac_of
from lab.randomnet.nft_matches import HEADER_MATCHES
from lab.randomnet.nft_rule import RuleContext
from lab.randomnet.nft_state_matches import STATE_MATCHES
from lab.randomnet.plan import Plan, Pod

_FRAME_MATCHES = [
    "daddr",
    "saddr",
    "dport",
    "sport",
    "raw-payload",
    "ip-header",
    "ether",
    "mark",
    "ifname",
    "pkttype",
    "l4proto",
    "icmp-type",
    "tcp-flags",
    "length",
    "ttl",
    "dscp",
    "protocol",
    "tcp-option",
]
_STATES = ("set", "set-interval", "set-concat", "dynset-add", "map-mark", "jhash", "numgen", "limit")


def _frame_match(c: RuleContext) -> tuple[str, str]:
    from_headers = c.plan.chance(0.75)
    names = [name for name in _FRAME_MATCHES if name != "mark" or c.place in c.senders]
    name = c.rng.choice(names if from_headers else _STATES)
    return name, (HEADER_MATCHES if from_headers else STATE_MATCHES)[name](c)


def _pod_mac(c: RuleContext) -> str:
    return mac_of(c.rng.choice(c.plan.pods).ipv4)


def _changes(c: RuleContext) -> dict[str, str]:
    v6 = c.v6
    return {
        "mark-set": "meta mark set 0x10",
        "dscp-set": f"{c.family} dscp set 0x04",
        "ttl-set": "ip6 hoplimit set 33" if v6 else "ip ttl set 33",
        "ether-set": f"ether daddr set {_pod_mac(c)}",
        "port-set": "tcp dport set 8080",
        "counter": "counter",
        "log": 'log prefix "nv"',
        "drop": "drop",
        "accept": "accept",
    }


def _hosts(plan: Plan, place: str) -> list[Pod]:
    return [pod for pod in plan.pods if pod.node == place]


def bridges(plan: Plan) -> None:
    """Add a bridge table on a node."""
    if not plan.chance(0.5):
        return
    rng = plan.rng
    place = rng.choice(plan.nodes).name
    hook = rng.choice(["prerouting", "prerouting", "input", "forward", "forward", "output", "postrouting"])
    c = RuleContext(plan, place, plan.chance(0.3), hook)
    local = [pod for pod in _hosts(plan, place) if pod.how == "bridge"]
    if local:
        inside = [pod.name for pod in local]
        dst = c.own if hook == "input" else rng.choice([pod.ipv6 if c.v6 else pod.ipv4 for pod in local])
        c.going(dst, [place] if hook == "output" else inside)
    does = _changes(c)
    if hook == "prerouting":
        does["pkttype-set"] = "meta pkttype set host"
    _frame_table(
        plan, c, "bridge", f"type filter hook {hook} priority {rng.choice(['0', '-200', '300'])};", does
    )


def devices(plan: Plan) -> None:
    """Add chains of devices: netdev ingress or egress, or inet ingress."""
    for _ in range(plan.rng.choice([0, 1, 1, 2])):
        _device_chain(plan)


def _device_chain(plan: Plan) -> None:
    rng = plan.rng
    place = rng.choice([*(node.name for node in plan.nodes)] * 2 + plan.senders())
    family, hook = rng.choice([("netdev", "ingress"), ("netdev", "egress"), ("inet", "ingress")])
    c = RuleContext(plan, place, plan.chance(0.3), hook)
    hosts = [pod.host for pod in _hosts(plan, place) if pod.how != "macvlan"]
    dev = rng.choice(["eth0", *hosts, *(["br0"] if any(place == node.name for node in plan.nodes) else [])])
    others = [one for one in (*hosts, "eth0", "lo") if one != dev]
    does = _changes(c)
    if hook == "ingress":
        does |= {
            "reject": "reject",
            "reject-tcp": "meta l4proto tcp reject with tcp reset",
        }
    if family == "netdev":
        does |= {"fwd": f'fwd to "{rng.choice(others)}"', "dup": 'dup to "lo"'}
        if hook == "ingress":
            does["pkttype-set"] = "meta pkttype set other"  # inet's ingress has no such statement
            does["fwd-neighbour"] = f'fwd {c.family} to {c.dst} device "{rng.choice(others)}"'
    line = f'type filter hook {hook} device "{dev}" priority 0;'
    c.going(*_by_device(c, dev))
    _frame_table(plan, c, family, line, does)


def _by_device(c: RuleContext, dev: str) -> tuple[str, list[str]]:
    """Choose a destination, and name who may send to it, so that the packet passes a device's hook."""
    plan, rng = c.plan, c.rng
    away = [name for name in plan.senders() if name != c.place]
    others = [addr for addr in plan.addresses(c.v6) if addr != c.own]
    pods = [pod for pod in _hosts(plan, c.place) if dev in ("eth0", pod.host) or pod.how == "bridge"]
    addrs = [pod.ipv6 if c.v6 else pod.ipv4 for pod in pods]
    names = [pod.name for pod in pods]
    if dev == "eth0":
        names = [c.place, *names]
        return (rng.choice([c.own, *addrs]), away) if c.hook == "ingress" else (rng.choice(others), names)
    if c.hook == "ingress":
        return rng.choice(others), names or away
    return rng.choice(addrs or others), away


def _frame_table(plan: Plan, c: RuleContext, family: str, line: str, does: dict[str, str]) -> None:
    rng = plan.rng
    table, name = f"nv{plan.unique()}", f"c{plan.unique()}x"
    match, words = _frame_match(c)
    if not words.startswith(("ip ", "ip6 ", "meta nfproto")):
        words = f"meta protocol {c.family} {words}"
    action = rng.choice(sorted(does))
    body = [f"chain {name} {{", does[action], "}", f"chain base{table} {{", f"{line} policy accept;"]
    text = (
        "\n".join([f"table {family} {table} {{", *c.declarations, *body, f"{words} jump {name}", "}", "}"])
        + "\n"
    )
    tokens = [f"jump {name}"]
    plan.add(f"nft-hook.{family}-{c.hook}", c.place, nft=text, tokens=[f"base{table}"])
    plan.add(f"nft-frame.{family}-{action}", c.place, tokens=tokens)
    plan.add(f"nft-frame.{match}", c.place, tokens=tokens)
    for _ in range(4):
        plan.aim(c.dst, **{**c.aim, "src": rng.choice([c.src_place, *c.senders])})


def arp(plan: Plan) -> None:
    """Add an ARP table that stops some questions or answers."""
    if not plan.chance(0.3):
        return
    rng = plan.rng
    place = rng.choice([*(node.name for node in plan.nodes), *plan.senders()])
    hook = rng.choice(["input", "output"])
    pods = [pod for pod in plan.pods if pod.node == place or pod.name == place] or plan.pods
    addr = rng.choice([pod.ipv4 for pod in pods] + [node.gateway4 for node in plan.nodes])
    kinds: dict[str, str] = {
        "target": f"arp daddr ip {addr}",
        "sender": f"arp saddr ip {addr}",
        "request": "arp operation request",
        "reply": "arp operation reply",
        "set": f"arp daddr ip {{ {addr}, 172.30.0.100 }}",
        "ether": f"arp saddr ether {mac_of(addr)}",
    }
    kind = rng.choice(sorted(kinds))
    does = rng.choice(["drop"] * 6 + ["accept", "counter"])
    table = f"nv{plan.unique()}"
    text = (
        f"table arp {table} {{\nchain base{table} {{\ntype filter hook {hook} priority 0; policy accept;\n"
        f"{kinds[kind]} {does}\n}}\n}}\n"
    )
    plan.add(f"nft-hook.arp-{hook}", place, nft=text, tokens=[f"base{table}"])
    plan.add(f"nft-arp.{kind}", place, tokens=[f"base{table}"])
    for _ in range(3):
        plan.aim(addr, src=rng.choice([place, *(pod.name for pod in pods)]))


def proxies(plan: Plan) -> None:
    """Add a transparent proxy: a listener, a rule that gives it packets, and a route that keeps them here."""
    if not plan.chance(0.15):
        return
    rng = plan.rng
    node, v6, number = rng.choice(plan.nodes), plan.chance(0.3), 7000 + plan.unique()
    family, proto = ("ip6" if v6 else "ip"), rng.choice(["tcp", "tcp", "udp"])
    dst = rng.choice(plan.addresses(v6))
    how = rng.choice([f":{number}", f"{'[::]' if v6 else '0.0.0.0'}:{number}"])
    mark = " meta mark set 0x77" if plan.chance(0.8) else ""
    table = f"nv{plan.unique()}"
    rule = f"{family} daddr {dst} {proto} dport 8080 tproxy to {how}{mark}"
    text = f"table {family} {table} {{\nchain base{table} {{\ntype filter hook prerouting priority mangle;\n{rule}\n}}\n}}\n"
    routing = [
        f"route add local default dev lo table {number}",
        f"rule add fwmark 0x77 lookup {number} pref 77",
    ]
    listener = {"proto": proto, "port": number, "transparent": plan.chance(0.85)}
    plan.add("nft-verdict.tproxy", node.name, nft=text, tokens=[f"base{table}: "], listeners=[listener])
    plan.add("nft-verdict.tproxy", node.name, ip4=[] if v6 else routing, ip6=routing if v6 else [])
    for _ in range(4):
        plan.aim(dst, proto=proto, dport=8080, src=rng.choice([pod.name for pod in node.pods]))


FRAMES: tuple[Callable[[Plan], None], ...] = (bridges, devices, arp, proxies)
