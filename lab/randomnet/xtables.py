"""iptables rules, in both backends and families: every table, every match and target that this kernel has.

As in `nftables`, every rule jumps to a chain of its own, so that a trace's evidence names it.
"""

from __future__ import annotations

import msgspec

from lab.randomnet.model import OUTSIDE
from lab.randomnet.plan import Plan
from lab.randomnet.xt_matches import MATCHES, QUIET4, QUIET6, usable, words_of
from lab.randomnet.xt_spot import OUTGOING, Spot
from lab.randomnet.xt_targets import TARGETS, choices

TABLES = {
    "filter": ("FORWARD", "FORWARD", "INPUT", "OUTPUT"),
    "mangle": ("PREROUTING", "INPUT", "FORWARD", "OUTPUT", "POSTROUTING"),
    "raw": ("PREROUTING", "OUTPUT"),
    "security": ("INPUT", "FORWARD", "OUTPUT"),
    "nat": ("PREROUTING", "OUTPUT", "POSTROUTING", "INPUT"),
}
WEIGHTED = ("filter", "filter", "filter", "mangle", "mangle", "mangle", "raw", "security", "nat")
# Matches with many kinds, or that few spots can have.
OFTENER = ("set", "rpfilter")


class Ruleset(msgspec.Struct):
    """The lines of one table, and what it needs."""

    declared: list[str] = []
    rules: list[str] = []
    sets: list[str] = []
    accounts: list[str] = []
    features: list[tuple[str, str]] = []


def filters(plan: Plan) -> None:
    """Add iptables rules to namespaces."""
    for _ in range(plan.rng.choice([0, 1, 2, 2, 3])):
        rng = plan.rng
        v6 = plan.chance(0.35)
        place = rng.choice([*(node.name for node in plan.nodes)] * 4 + plan.senders())
        backend = rng.choice(["nft", "nft", "legacy"])
        table = rng.choice(WEIGHTED)
        made = Ruleset()
        for _ in range(rng.choice([1, 2, 3])):
            _rule(plan, made, Spot(plan, place, v6, table, rng.choice(TABLES[table])))
        text = "\n".join([f"*{table}", *made.declared, *made.rules, "COMMIT"]) + "\n"
        tokens = [f"{word} {own}" for _, own in made.features for word in ("jump", "-j", "-g")]
        program = f"{'ip6' if v6 else 'ip'}tables-{backend}-restore"
        plan.add(
            f"xt-backend.{backend}-{'ip6-' if v6 else ''}{table}",
            place,
            ipset=made.sets,
            nfacct=made.accounts,
            xtables={program: text},
            tokens=tokens,
        )
        for feature, own in made.features:
            plan.add(feature, place, tokens=[f"jump {own}", f"-j {own}", f"goto {own}", f"-g {own}"])


def _rule(plan: Plan, made: Ruleset, spot: Spot) -> None:
    rng, own = plan.rng, f"C{plan.unique()}X"
    names = [name for name in sorted(MATCHES) if usable(name, spot)]
    name = rng.choice([*names, *(name for name in OFTENER if name in names for _ in range(4))])
    words = words_of(name, spot)
    target = rng.choice(choices(spot))
    body = TARGETS[target](spot)
    how = rng.choice(["jump", "jump", "jump", "goto", "nested"])
    made.declared.append(f":{own} - [0:0]")
    if plan.chance(0.3):
        made.rules.append(_quiet(spot))
    made.rules.append(f"-A {spot.chain} {words} {'-g' if how == 'goto' else '-j'} {own}")
    inner = own
    if how == "nested":  # two deep, and back out again by RETURN
        inner = f"C{plan.unique()}Y"
        made.declared.append(f":{inner} - [0:0]")
        made.rules += [f"-A {own} -j {inner}", f"-A {own} -p udp -j RETURN"]
    made.rules += [f"-A {inner} {line}" for line in body]
    made.sets += spot.sets
    made.accounts += spot.accounts
    made.features += [(f"xt.{name}", own), (f"xt-target.{target}", own), (f"xt-way.{how}", own)]
    made.features += [(f"xt-set.{kind}", own) for kind in spot.kinds]
    for _ in range(3):
        plan.aim(spot.addr, src=rng.choice(spot.senders()))
    if spot.chain in OUTGOING:
        plan.aim(rng.choice(plan.addresses(spot.v6)), src=spot.place)


def _quiet(spot: Spot) -> str:
    """Write a rule that no packet of the network fits."""
    words = [
        text for text in (QUIET6 if spot.v6 else QUIET4) if spot.chain not in OUTGOING or "eui64" not in text
    ]
    return f"-A {spot.chain} {spot.rng.choice(words)} -j {'ACCEPT' if spot.table == 'nat' else 'DROP'}"


def bridged(plan: Plan) -> None:
    """Let a node's bridge pass what it bridges through the IP hooks, with rules that look at its ports."""
    nodes = [n for n in plan.nodes if any(pod.how == "bridge" for pod in n.pods)]
    if not nodes or not plan.chance(0.35):
        return
    rng = plan.rng
    node = rng.choice(nodes)
    if plan.chance(0.7):
        calls = {"bridge/bridge-nf-call-iptables": "1", "bridge/bridge-nf-call-ip6tables": "1"}
        plan.add("xt-bridge.nf-call", node.name, sysctls=calls, tokens=["--physdev"])
    else:
        line = "link set br0 type bridge nf_call_iptables 1 nf_call_ip6tables 1"
        plan.add("xt-bridge.nf-call-own", node.name, ip4=[line], tokens=["--physdev"])
    v6 = plan.chance(0.3)
    table = rng.choice(["filter", "mangle", "raw", "nat"])
    own = f"C{plan.unique()}X"
    chain = rng.choice(["FORWARD", "POSTROUTING", "PREROUTING"] if table == "mangle" else [
        {"filter": "FORWARD", "raw": "PREROUTING", "nat": "POSTROUTING"}[table]])  # fmt: skip
    spot = Spot(plan, node.name, v6, table, chain)
    target = rng.choice(choices(spot))
    rules = [f"-A {chain} {words_of('physdev', spot)} -j {own}"]
    rules += [f"-A {own} {line}" for line in TARGETS[target](spot)]
    text = "\n".join([f"*{table}", f":{own} - [0:0]", *rules, "COMMIT"]) + "\n"
    backend = rng.choice(["nft", "legacy"])
    program = f"{'ip6' if v6 else 'ip'}tables-{backend}-restore"
    tokens = [f"-j {own}"]
    plan.add("xt.physdev", node.name, ipset=spot.sets, xtables={program: text}, tokens=tokens)
    pods = [pod for pod in node.pods if pod.how == "bridge"]
    for _ in range(4):
        pod, sender = rng.choice(pods), rng.choice(pods)
        plan.aim(pod.ipv6 if v6 else pod.ipv4, src=sender.name)


def copies(plan: Plan) -> None:
    """Copy packets to a gateway that isn't reachable (what a copy does is another packet's story)."""
    if not plan.chance(0.1):
        return
    own = f"C{plan.unique()}X"
    text = (
        f"*mangle\n:{own} - [0:0]\n-A INPUT -p tcp -j {own}\n-A {own} -j TEE --gateway 203.0.113.77\nCOMMIT\n"
    )
    tokens = [f"jump {own}", f"-j {own}"]
    plan.add("xt-target.TEE", OUTSIDE, xtables={"iptables-nft-restore": text}, tokens=tokens)
    plan.aim("198.51.100.10", proto="tcp")


def proxies(plan: Plan) -> None:
    """Give a node's forwarded TCP or UDP to a transparent socket, by a policy rule; without the rule it is dropped."""
    if not plan.chance(0.12):
        return
    rng = plan.rng
    node = rng.choice(plan.nodes)
    v6 = plan.chance(0.3)
    proto = rng.choice(["tcp", "udp"])
    own, port = f"C{plan.unique()}X", 9000 + plan.unique()
    text = (
        f"*mangle\n:{own} - [0:0]\n-A PREROUTING -p {proto} --dport 8080 -j {own}\n"
        f"-A {own} -p {proto} -j TPROXY --on-port {port} --tproxy-mark 0x100/0x100\nCOMMIT\n"
    )
    key = "ip6" if v6 else "ip4"
    routed = plan.chance(0.8)
    lines = ["rule add fwmark 0x100/0x100 lookup 77", "route add local default dev lo table 77"]
    program = f"{'ip6' if v6 else 'ip'}tables-{rng.choice(['nft', 'legacy'])}-restore"
    plan.add(
        "xt-target.TPROXY",
        node.name,
        xtables={program: text},
        tokens=[f"-j {own}"],
        listeners=[{"proto": proto, "port": port, "transparent": plan.chance(0.8)}],
        **({key: lines} if routed else {}),
    )
    for _ in range(4):
        pod = rng.choice(plan.pods)
        plan.aim(pod.ipv6 if v6 else pod.ipv4, proto=proto, dport=8080)
