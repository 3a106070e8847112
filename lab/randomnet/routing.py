"""Policy rules and routes of every sort, in nodes, pods and the outside host."""

from __future__ import annotations

from lab.randomnet.model import OUTSIDE
from lab.randomnet.plan import OUTSIDE4, OUTSIDE6, Plan

FIRST_PRIORITY, FIRST_TABLE, FIRST_METRIC, FIRST_NEXTHOP = 10000, 2000, 3000, 40
MARKS = (0x1, 0x10, 0x4000)
NEXTHOP_OBJECTS = ("nexthop-group",)  # an object's family is its gateway's, so `ip` gets none


def _router(plan: Plan) -> str:
    """Choose whose routing to change: mostly a node's."""
    return plan.rng.choice([*(node.name for node in plan.nodes)] * 3 + plan.senders())


def _destination(plan: Plan, v6: bool) -> tuple[str, str]:
    """Choose an address worth sending to, and a prefix that covers it."""
    addr = plan.rng.choice(plan.addresses(v6)) if plan.chance(0.85) else plan.nowhere(v6)
    if v6:
        head = addr.split("::")[0]
        return addr, plan.rng.choice([f"{addr}/128", f"{addr}/128", f"{head}::/64"])
    parts = addr.split(".")
    wide = ".".join(parts[:3]) + ".0/24"
    narrow = ".".join(parts[:3]) + f".{int(parts[3]) & 0xFC}/30"
    return addr, plan.rng.choice([f"{addr}/32", f"{addr}/32", narrow, wide])


def _gateways(plan: Plan, place: str, v6: bool) -> list[str]:
    """List next hops that a place could use: neighbours on its own subnet."""
    for pod in plan.pods:
        if pod.name == place and pod.how != "macvlan":
            node = plan.node_of(pod)
            if pod.how == "routed":
                return [] if v6 else ["169.254.1.1"]
            others = [o for o in node.pods if o.how == "bridge" and o is not pod]
            return [node.gateway6 if v6 else node.gateway4, *((o.ipv6 if v6 else o.ipv4) for o in others)]
    found = [node.ipv6 if v6 else node.ipv4 for node in plan.nodes if node.name != place]
    if place != OUTSIDE:
        found.append("fd30::100" if v6 else "172.30.0.100")
    return found


def _hop(plan: Plan, place: str, v6: bool) -> str:
    """Write a next hop."""
    gateways = _gateways(plan, place, v6)
    if not gateways or plan.chance(0.1):
        return "dev eth0"
    return f"via {plan.rng.choice(gateways)}"


def _both(v6: bool, lines: list[str]) -> dict[str, list[str]]:
    return {"ip6": lines} if v6 else {"ip4": lines}


def routes(plan: Plan) -> None:
    """Add routes to table main."""
    for _ in range(plan.rng.choice([0, 1, 2, 3])):
        v6 = plan.chance(0.4)
        place = _router(plan)
        addr, prefix = _destination(plan, v6)
        kind = plan.rng.choice(
            ["blackhole", "unreachable", "prohibit", "throw", "metric", "tos", "multipath", "nexthop-group"]
            + ["nexthop-blackhole", "onlink", "prefsrc", "mtu", "gateway", "local", "linkdown", "dead"]
        )
        if kind == "tos" and v6:
            continue  # IPv6 routes have none
        if kind in ("linkdown", "dead"):
            _unusable(plan, place, v6, kind, addr, prefix)
            continue
        lines, tokens = _route(plan, place, v6, kind, addr, prefix)
        config = {"ip": lines} if kind in NEXTHOP_OBJECTS else _both(v6, lines)
        plan.add(f"route.{kind}{'6' if v6 else ''}", place, tokens=tokens, **config)
        tos = 0x10 if kind == "tos" else 0
        plan.aim(addr, tos=tos)
        plan.aim(addr, src=place, tos=tos)


def _route(
    plan: Plan, place: str, v6: bool, kind: str, addr: str, prefix: str
) -> tuple[list[str], list[str]]:
    metric = FIRST_METRIC + plan.unique()
    shown = prefix.removesuffix("/32").removesuffix("/128")
    hop = _hop(plan, place, v6)
    if kind in ("blackhole", "unreachable", "prohibit", "throw"):
        return [f"route add {kind} {prefix} metric {metric}"], [f"metric {metric}"]
    if kind == "metric":
        better, worse = f"metric {metric}", f"metric {metric + 1}"
        lines = [f"route add {prefix} {_hop(plan, place, v6)} {worse}", f"route add {prefix} {hop} {better}"]
        plan.unique()
        return lines, [better, worse]
    if kind == "tos":
        return [f"route add {prefix} tos 0x10 {hop} metric {metric}"], [f"metric {metric}"]
    if kind in ("multipath", "nexthop-group", "nexthop-blackhole"):
        return _several(plan, place, v6, kind, prefix, metric)
    if kind == "onlink":
        via = plan.rng.choice([plan.nowhere(v6), *_gateways(plan, place, v6)])
        return [f"route add {prefix} via {via} dev eth0 onlink metric {metric}"], [f"metric {metric}"]
    if kind == "prefsrc":
        node = next((node for node in plan.nodes if node.name == place), None)
        own = (node.gateway6 if v6 else node.gateway4) if node else (OUTSIDE6 if v6 else OUTSIDE4)
        return [f"route add {prefix} {hop} src {own} metric {metric}"], [f"metric {metric}"]
    if kind == "mtu":
        mtu = plan.rng.choice([1280, 1300, 1400])
        return [f"route add {prefix} {hop} mtu {mtu} metric {metric}"], [f"metric {metric}"]
    if kind == "local" and addr == plan.address_in(place, v6):
        addr = plan.nowhere(v6)
    if kind == "local":
        return [f"route add local {addr} dev lo table local"], [f"local {shown}", f"local {addr}"]
    return [f"route add {prefix} {hop} metric {metric}"], [f"metric {metric}"]


def _unusable(plan: Plan, place: str, v6: bool, kind: str, addr: str, prefix: str) -> None:
    """Add a route through a device without carrier that is to be ignored, or through one that is down.

    The device is a veth of the namespace's own whose other end is down; another route of the prefix stands by.
    """
    number = plan.unique()
    plan.unique()
    dev, metric = f"nvu{number}", FIRST_METRIC + number
    own, via = (
        (f"fd99:{number}::1/64", f"fd99:{number}::2")
        if v6
        else (f"10.199.{number}.1/24", f"10.199.{number}.2")
    )
    better, worse = f"metric {metric}", f"metric {metric + 1}"
    up = [f"link add {dev} type veth peer name {dev}p", f"link set {dev} up"]
    family = "ipv6" if v6 else "ipv4"
    if kind == "linkdown":
        routes = [
            f"addr add {own} dev {dev}{' nodad' if v6 else ''}",
            f"route add {prefix} via {via} dev {dev} {better}",
        ]
        routes.append(f"route add {prefix} {_hop(plan, place, v6)} {worse}")
        sysctls = {f"{family}/conf/{dev}/ignore_routes_with_linkdown": "1"}
        config = {"ip4": up, "ip6": routes} if v6 else {"ip4": up + routes}
        plan.add(f"route.linkdown{'6' if v6 else ''}", place, sysctls=sysctls, tokens=[worse], **config)
    else:
        routes = [f"addr add {own} dev {dev}{' nodad' if v6 else ''}"]
        gateway = (_gateways(plan, place, v6) or [plan.nowhere(v6)])[0]
        routes.append(
            f"route add {prefix} {better} nexthop via {via} dev {dev} nexthop via {gateway} weight 2"
        )
        both_up = [*up, f"link set {dev}p up"]
        down = [f"link set {dev} down"]
        config = {"ip4": both_up, "ip6": routes + down} if v6 else {"ip4": both_up + routes + down}
        plan.add(f"route.dead{'6' if v6 else ''}", place, tokens=[better], **config)
    plan.aim(addr, src=place)
    plan.aim(addr)


def _several(
    plan: Plan, place: str, v6: bool, kind: str, prefix: str, metric: int
) -> tuple[list[str], list[str]]:
    gateways = _gateways(plan, place, v6)
    plan.rng.shuffle(gateways)
    gateways = gateways[:3] or ["fd30::100" if v6 else "172.30.0.100"]
    if kind == "multipath":
        hops = " ".join(f"nexthop via {via} weight {plan.rng.randint(1, 3)}" for via in gateways)
        return [f"route add {prefix} metric {metric} {hops}"], [f"metric {metric}"]
    base = FIRST_NEXTHOP + 10 * plan.unique()
    if kind == "nexthop-blackhole":
        return [f"nexthop add id {base} blackhole", f"route add {prefix} nhid {base} metric {metric}"], [
            f"metric {metric}"
        ]
    members = [f"{base + number}" for number in range(1, len(gateways) + 1)]
    lines = [
        f"nexthop add id {member} via {via} dev eth0" for member, via in zip(members, gateways, strict=True)
    ]
    group = "/".join(f"{member},{plan.rng.randint(1, 3)}" for member in members)
    lines.append(f"nexthop add id {base} group {group}")
    lines.append(f"route add {prefix} nhid {base} metric {metric}")
    return lines, [f"metric {metric}"]


def rules(plan: Plan) -> None:
    """Add policy rules, and tables for them."""
    for _ in range(plan.rng.choice([0, 0, 1, 2, 3])):
        v6 = plan.chance(0.4)
        place = _router(plan)
        addr, _ = _destination(plan, v6)
        priority = FIRST_PRIORITY + 10 * plan.unique()
        names, words, aim = _selectors(plan, place, v6, addr)
        action, lines = _action(plan, place, v6, priority, addr)
        line = f"rule add priority {priority} {words} {action}"
        config = _both(v6, [*lines, line])
        for name in names:
            plan.add(f"rule.{name}{'6' if v6 else ''}", place, tokens=[f"{priority}:"], **config)
            config = {}
        verb = action.split()[0]
        how = "lookup" if verb == "table" else verb
        if "suppress" in action:
            how = action.split()[2].replace("_", "-")
        plan.add(f"rule-action.{how}", place, tokens=[f"{priority}:"])
        for _ in range(3):
            plan.aim(addr, **aim)


def _selectors(plan: Plan, place: str, v6: bool, addr: str) -> tuple[list[str], str, dict[str, object]]:
    """Choose what a rule matches: names, words for iproute2, and what a packet needs to match."""
    rng = plan.rng
    chosen = rng.sample(
        ["from", "to", "iif", "oif", "fwmark", "ipproto", "sport", "dport", "tos", "uidrange"],
        rng.choice([1, 1, 2]),
    )
    words: list[str] = []
    aim: dict[str, object] = {}
    sender = rng.choice(plan.senders())
    for name in chosen:
        if name == "from":
            source = plan.address_in(sender, v6)
            aim["src"] = sender
            words.append(
                f"from {source}" if plan.chance(0.6) else f"from {'fd00::/8' if v6 else '10.0.0.0/8'}"
            )
        elif name == "to":
            words.append(f"to {addr}" if plan.chance(0.6) else f"to {'fd00::/8' if v6 else '10.0.0.0/8'}")
        elif name == "iif":
            devs = ["eth0", "lo", "br0", *(pod.host for pod in plan.pods if pod.node == place)]
            words.append(f"iif {rng.choice(devs)}")
        elif name == "oif":
            aim["src"], aim["dev"] = place, "eth0"
            words.append("oif eth0")
        elif name == "fwmark":
            mark = rng.choice(MARKS)
            aim["mark"] = mark
            words.append(f"fwmark {mark:#x}" + rng.choice(["", f"/{mark:#x}", "/0xff", "/0xffff"]))
        elif name == "ipproto":
            proto = rng.choice(["tcp", "udp", "icmp"])
            aim["proto"] = proto
            words.append(f"ipproto {'ipv6-icmp' if v6 and proto == 'icmp' else proto}")
        elif name == "sport":
            words.append("sport 20000-20012")
        elif name == "dport":
            aim["proto"], aim["dport"] = rng.choice(["tcp", "udp"]), 8080
            words.append(rng.choice(["dport 8080", "dport 8000-9000", "dport 81"]))
        elif name == "tos":
            aim["tos"] = 0x10
            if v6:
                aim["proto"] = rng.choice(["udp", "icmp"])  # TCP doesn't tell its own to IPv6's lookup
            words.append("tos 0x10")
        else:
            words.append(rng.choice(["uidrange 0-0", "uidrange 1000-2000", "uidrange 0-4294967294"]))
    if plan.chance(0.12):
        words.insert(0, "not")
        chosen.append("not")
    return chosen, " ".join(words), aim


def _action(plan: Plan, place: str, v6: bool, priority: int, addr: str) -> tuple[str, list[str]]:
    """Choose what a rule does, and the table that it may need."""
    rng = plan.rng
    kind = rng.choice(
        ["lookup", "lookup", "lookup", "goto", "blackhole", "unreachable", "prohibit", "suppress", "nop"]
    )
    if kind == "goto":
        return f"goto {rng.choice([32766, priority + 5, 32767])}", [f"rule add priority {priority + 5} nop"]
    if kind == "suppress":
        if plan.chance(0.4):
            dev = rng.choice(["eth0", "br0"]) if place.startswith("n") else "eth0"
            return "table main suppress_ifgroup 7", [f"link set dev {dev} group 7"]
        return f"table main suppress_prefixlength {rng.choice([0, 0, 24, 32, 64])}", []
    if kind != "lookup":
        return kind, []
    table = FIRST_TABLE + plan.unique()
    prefix = rng.choice(["default", "default", f"{addr}"])
    what = rng.choice(["via", "via", "via", "blackhole", "unreachable", "prohibit", "throw", "empty"])
    if what == "via":
        return f"table {table}", [f"route add {prefix} {_hop(plan, place, v6)} table {table}"]
    if what == "empty":
        return f"table {table}", []
    return f"table {table}", [f"route add {what} {prefix} table {table}"]
