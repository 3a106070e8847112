"""Sysctls, neighbour entries, bridge ports and faults: what makes a network behave unlike its routes."""

from __future__ import annotations

from lab.randomnet.model import OUTSIDE
from lab.randomnet.plan import Node, Plan, Pod

WRONG_MAC = "0a:58:00:00:00:99"


def _bridged(plan: Plan) -> list[Pod]:
    return [pod for pod in plan.pods if pod.how == "bridge"]


def _hosts(node: Node) -> list[str]:
    return [pod.host for pod in node.pods if pod.how != "macvlan"]


def _values(plan: Plan, kind: str, dev: str) -> dict[str, str]:
    """Return the settings of a kind, for a device where they are one's own."""
    rng = plan.rng
    return {
        "rp_filter-strict": {f"ipv4/conf/{dev}/rp_filter": "1"},
        "rp_filter-loose": {f"ipv4/conf/{dev}/rp_filter": "2"},
        "rp_filter-all": {"ipv4/conf/all/rp_filter": rng.choice(["1", "2"])},
        "forwarding-off": {f"ipv4/conf/{dev}/forwarding": "0"},
        "forwarding6-off": {"ipv6/conf/all/forwarding": "0"},
        "ip_forward-off": {"ipv4/ip_forward": "0"},
        "arp_ignore": {f"ipv4/conf/{dev}/arp_ignore": rng.choice(["1", "2", "8"])},
        "arp_filter": {f"ipv4/conf/{dev}/arp_filter": "1"},
        "arp_announce": {f"ipv4/conf/{dev}/arp_announce": rng.choice(["1", "2"])},
        "proxy_arp": {f"ipv4/conf/{dev}/proxy_arp": "1"},
        "proxy_arp_pvlan": {f"ipv4/conf/{dev}/proxy_arp_pvlan": "1"},
        "accept_local": {f"ipv4/conf/{dev}/accept_local": "1", f"ipv4/conf/{dev}/rp_filter": "1"},
        "route_localnet": {f"ipv4/conf/{dev}/route_localnet": "1"},
        "ip_default_ttl": {"ipv4/ip_default_ttl": rng.choice(["3", "100"])},
        "bridge-nf-call": {"bridge/bridge-nf-call-iptables": "1", "bridge/bridge-nf-call-ip6tables": "1"},
        "echo_ignore": {"ipv4/icmp_echo_ignore_all": "1", "ipv6/icmp/echo_ignore_all": "1"},
        "errors_inbound": {"ipv4/icmp_errors_use_inbound_ifaddr": "1"},
        "src_valid_mark": {f"ipv4/conf/{dev}/src_valid_mark": "1", f"ipv4/conf/{dev}/rp_filter": "1"},
        "disable_ipv6": {f"ipv6/conf/{dev}/disable_ipv6": "1"},
    }[kind]


SYSCTLS = (
    "rp_filter-strict",
    "rp_filter-loose",
    "rp_filter-all",
    "forwarding-off",
    "forwarding6-off",
    "ip_forward-off",
    "arp_ignore",
    "arp_filter",
    "arp_announce",
    "proxy_arp",
    "proxy_arp_pvlan",
    "accept_local",
    "route_localnet",
    "ip_default_ttl",
    "bridge-nf-call",
    "echo_ignore",
    "errors_inbound",
    "src_valid_mark",
    "disable_ipv6",
)


def sysctls(plan: Plan) -> None:
    """Change what the kernel checks, and aim at what that decides."""
    rng = plan.rng
    for _ in range(rng.choice([0, 1, 1, 2])):
        node = rng.choice(plan.nodes)
        routed = [pod.host for pod in node.pods if pod.how in ("routed", "ptp")]
        dev = rng.choice(["eth0", "br0", *(routed if plan.chance(0.85) else _hosts(node))])
        kind = rng.choice(SYSCTLS)
        if not (senders := _senders_by(plan, node, dev)):
            dev, senders = "eth0", _senders_by(plan, node, "eth0")
        values = _values(plan, kind, dev)
        tokens = [name.rpartition("/")[2] for name in values]
        if kind.startswith("rp_filter") or kind in ("accept_local", "src_valid_mark"):
            tokens = ["is refused on"]
        if "forward" in kind:
            tokens = ["forwarding is off"]
        config = _needed(plan, kind, plan.address_in(senders[0], False))
        plan.add(f"sysctl.{kind}", node.name, sysctls=values, tokens=tokens, **config)
        for sender in senders:
            plan.aim(node.ipv4, src=sender)
            plan.aim(rng.choice(plan.addresses(False)), src=sender)
        _aim_at_sysctl(plan, node, kind, senders)


def _needed(plan: Plan, kind: str, peer: str) -> dict[str, object]:
    """Write what a setting needs to make a difference for packets from an address."""
    number = plan.unique()
    if kind == "bridge-nf-call":
        return {"nft": _port_filter(plan)}
    if kind == "rp_filter-loose":
        return {"ip4": [f"route add unreachable {peer}/32 metric {9000 + number}"]}
    if kind == "accept_local":
        return {"ip4": [f"addr add {peer}/32 dev lo"]}
    if kind == "src_valid_mark":
        chain = (
            f"chain c {{\ntype filter hook prerouting priority mangle\nip saddr {peer} meta mark set 0x99\n}}"
        )
        lines = [
            f"route add unreachable default table {9000 + number}",
            f"rule add to {peer} fwmark 0x99 lookup {9000 + number} pref {9000 + number}",
        ]
        return {"nft": f"table ip nv{number} {{\n{chain}\n}}\n", "ip4": lines}
    return {}


def _senders_by(plan: Plan, node: Node, dev: str) -> list[str]:
    """Name some whose packets come to a node by a device."""
    inside = [pod.name for pod in node.pods if pod.host == dev or (dev == "br0" and pod.how == "bridge")]
    outside = [OUTSIDE, *(other.name for other in plan.nodes if other is not node)]
    senders = outside if dev == "eth0" else inside
    plan.rng.shuffle(senders)
    return senders[:2]


def _aim_at_sysctl(plan: Plan, node: Node, kind: str, senders: list[str]) -> None:
    if kind == "route_localnet":
        _to_loopback(plan, node, senders)
    elif kind.startswith("arp_"):
        plan.aim(node.ipv4)
        plan.aim(node.gateway4)
        plan.aim(node.ipv4, src=plan.rng.choice(plan.pods).name)
    elif kind == "disable_ipv6":
        for addr in (node.ipv6, node.gateway6):
            plan.aim(addr)
    elif kind == "bridge-nf-call":
        _aim_inside(plan, node)
    elif kind == "errors_inbound":
        _aim_for_errors(plan, node)
    elif kind == "ip_default_ttl":
        plan.aim(node.ipv4, proto="udp")
        plan.aim(node.ipv4, proto="tcp")


def _port_filter(plan: Plan) -> str:
    """Drop a port of what is forwarded, and of what is bridged where that goes through the IP hooks."""
    table, hook = f"nv{plan.unique()}", plan.rng.choice(["forward", "prerouting"])
    return (
        f"table inet {table} {{\nchain c {{\ntype filter hook {hook} priority 0\nth dport 81 drop\n}}\n}}\n"
    )


def _aim_inside(plan: Plan, node: Node) -> None:
    """Aim from pod to pod behind the node's own bridge."""
    pods = [pod for pod in node.pods if pod.how == "bridge"]
    for pod in pods:
        for other in pods:
            if other is not pod:
                plan.aim(pod.ipv4, src=other.name)
                plan.aim(pod.ipv6, src=other.name, proto="tcp", dport=81)


def _aim_for_errors(plan: Plan, node: Node) -> None:
    """Aim at what the node has no neighbour for, and let packets live no longer than the node."""
    senders = [OUTSIDE, *(pod.name for pod in node.pods), *(n.name for n in plan.nodes if n is not node)]
    behind = [pod.ipv4 for pod in node.pods if pod.how not in ("macvlan", "stretched")]
    for sender in senders:
        plan.aim(f"10.244.{node.index}.{plan.rng.randrange(200, 250)}", src=sender, proto="udp")
        if behind:
            plan.aim(plan.rng.choice(behind), src=sender, ttl=1)


def _to_loopback(plan: Plan, node: Node, senders: list[str]) -> None:
    """Translate a port of the node to its loopback: that works where route_localnet allows it."""
    port = 8200 + plan.unique()
    rule = f"tcp dport {port} dnat ip to 127.0.0.1:8080"
    base = "type nat hook prerouting priority dstnat"
    table = f"table ip nvl{port} {{\nchain pre {{\n{base}\n{rule}\n}}\n}}\n"
    plan.add("nat.dnat-loopback", node.name, nft=table, tokens=["127.0.0.1"])
    for addr in (node.ipv4, node.gateway4):
        plan.aim(addr, proto="tcp", dport=port)
    for sender in senders:
        plan.aim(node.ipv4, proto="tcp", dport=port, src=sender)


def listeners(plan: Plan) -> None:
    """Open sockets that are bound to an address, to IPv6 alone, or to a device, and aim at them."""
    for _ in range(plan.rng.choice([0, 1, 1])):
        place = plan.rng.choice(plan.senders())
        proto = plan.rng.choice(["tcp", "udp"])
        port = 8400 + plan.unique()
        addr, addr6 = plan.address_in(place, False), plan.address_in(place, True)
        kind = plan.rng.choice(["addr", "addr6", "v6only", "dev", "dev-other"])
        hows: dict[str, dict[str, object]] = {
            "addr": {"addr": addr},
            "addr6": {"addr": addr6},
            "v6only": {"v6only": True},
            "dev": {"dev": "eth0"},
            "dev-other": {"dev": "lo"},
        }
        listener = {"proto": proto, "port": port, **hows[kind]}
        tokens = [f"packets to port {port}", f":{port} and takes"]
        plan.add(f"listener.{kind}", place, listeners=[listener], tokens=tokens)
        for dst in (addr, addr6):
            plan.aim(dst, proto=proto, dport=port)


def neighbours(plan: Plan) -> None:
    """Add neighbour entries, right and wrong."""
    for _ in range(plan.rng.choice([0, 0, 1, 2])):
        v6 = plan.chance(0.3)
        pods = [pod for pod in plan.pods if pod.how not in ("macvlan", "stretched")]
        if not pods:
            return
        pod = plan.rng.choice(pods)
        node = plan.node_of(pod)
        addr = pod.ipv6 if v6 else pod.ipv4
        gateway = node.gateway6 if v6 else node.gateway4
        dev = "br0" if pod.how == "bridge" else pod.host
        key = "ip6" if v6 else "ip4"
        kind = plan.rng.choice(["permanent", "wrong", "wrong-gateway", "failed", "noarp", "proxy"])
        at, line = {
            "permanent": (node.name, f"neigh replace {addr} lladdr {pod.mac} dev {dev} nud permanent"),
            "wrong": (node.name, f"neigh replace {addr} lladdr {WRONG_MAC} dev {dev} nud permanent"),
            "noarp": (node.name, f"neigh replace {addr} lladdr {pod.mac} dev {dev} nud noarp"),
            "failed": (node.name, f"neigh replace {addr} dev {dev} nud failed"),
            "wrong-gateway": (pod.name, f"neigh replace {gateway} lladdr {WRONG_MAC} dev eth0 nud permanent"),
            "proxy": (node.name, f"neigh add proxy {plan.nowhere(v6)} dev {dev}"),
        }[kind]
        plan.add(
            f"neigh.{kind}",
            at,
            tokens=[f"{gateway if at == pod.name else addr} is at", f"for {addr}"],
            **{key: [line]},
        )
        for _ in range(2):
            plan.aim(addr)


def bridge_ports(plan: Plan) -> None:
    """Set options of bridge ports, and static entries."""
    for _ in range(plan.rng.choice([0, 0, 1, 2])):
        pods = _bridged(plan)
        if not pods:
            return
        pod = plan.rng.choice(pods)
        kind = plan.rng.choice(
            [
                "hairpin",
                "isolated",
                "learning-off",
                "flood-off",
                "fdb-static",
                "fdb-wrong",
                "blocked",
                "mcast-flood-off",
            ]
            + ["bcast-flood-off", "fdb-sticky", "locked", "backup-port", "querier", "neigh-suppress"]
        )
        if kind in ("querier", "neigh-suppress") and not plan.chance(0.02):
            kind = "hairpin"  # what isn't modelled is to be rare
        others = [other for other in pods if other is not pod and other.node == pod.node]
        dev = pod.host
        known: tuple[list[str], list[str]] = ([], [f"fdb replace {pod.mac} dev {dev} master static"])
        lines = {
            "hairpin": [f"link set dev {dev} hairpin on"],
            "isolated": [
                f"link set dev {dev} isolated on",
                *(f"link set dev {o.host} isolated on" for o in others),
            ],
            "learning-off": [f"link set dev {dev} learning off"],
            "flood-off": [f"link set dev {dev} flood off"],
            "mcast-flood-off": [f"link set dev {dev} mcast_flood off"],
            "bcast-flood-off": [f"link set dev {dev} bcast_flood off"],
            "blocked": [f"link set dev {dev} state 4"],
            "fdb-static": [f"fdb replace {pod.mac} dev {dev} master static"],
            "fdb-sticky": [f"fdb replace {pod.mac} dev {others[0].host} master static sticky"]
            if others
            else [],
            "locked": [f"link set dev {dev} locked on", *plan.rng.choice(known)],
            "backup-port": [f"link set dev {dev} backup_port {others[0].host}"] if others else [],
            "neigh-suppress": [f"link set dev {dev} neigh_suppress on"],
            "querier": [f"link set dev {dev} mcast_flood on"],
            "fdb-wrong": [f"fdb replace {pod.mac} dev {others[0].host} master static"] if others else [],
        }[kind]
        if lines:
            tokens = [dev] if kind == "hairpin" else [pod.mac] if "fdb" in kind else [f"{dev}"]
            own = {"querier": ["link set br0 type bridge mcast_querier 1"]}.get(kind, [])
            if kind == "backup-port":
                plan.add(f"bridge.{kind}", pod.name, ip4=["link set eth0 down"])
            plan.add(f"bridge.{kind}", pod.node, ip4=own, bridge=lines, tokens=tokens)
            for _ in range(2):
                plan.aim(pod.ipv4)
            plan.aim(pod.ipv6)


def hairpins(plan: Plan) -> None:
    """Let pods ask for services that they may be an endpoint of: with their port's hairpin mode, and without."""
    services = {target.dst for target in plan.targets if target.dst.startswith("10.97.0.")}
    for pod in _bridged(plan)[:3] if services else []:
        if plan.chance(0.6):
            lines = [f"link set dev {pod.host} hairpin on"]
            plan.add("service.hairpin", pod.node, bridge=lines, tokens=[f"@{pod.host}, a port of br0"])
        plan.aim(plan.rng.choice(sorted(services)), proto="tcp", dport=80, src=pod.name)


def opaque(plan: Plan) -> None:
    """Put in what can only be named: a classifier for programs on a device, a tun device that no program holds."""
    node = plan.rng.choice(plan.nodes)
    pods = [pod for pod in plan.pods if pod.how not in ("macvlan", "stretched")]
    if pods and plan.chance(0.005):
        pod = plan.rng.choice(pods)
        plan.add("tc.clsact", pod.node, tc=[f"qdisc add dev {pod.host} clsact"], tokens=["clsact"])
        plan.aim(pod.ipv4)
    if plan.chance(0.08):
        lines = ["tuntap add dev tun0 mode tun", "link set tun0 up", "route add 203.0.113.0/24 dev tun0"]
        plan.add("tun", node.name, ip4=lines, tokens=["tun0"])
        for _ in range(2):
            plan.aim("203.0.113.7", src=plan.rng.choice([pod.name for pod in node.pods]))


def faults(plan: Plan) -> None:
    """Break something."""
    if not plan.chance(0.35):
        return
    rng = plan.rng
    pod, node = rng.choice(plan.pods), rng.choice(plan.nodes)
    other = rng.choice(plan.pods)
    kind = rng.choice(
        ["link-down", "host-down", "bridge-down", "mtu", "duplicate", "no-address", "no-route", "nic-mtu"]
    )
    host = pod.host if pod.how != "macvlan" else "eth0"
    at, lines, tokens = {
        "link-down": (pod.name, ["link set eth0 down"], ["is down", "has no carrier", "no route"]),
        "host-down": (pod.node, [f"link set {host} down"], ["is down", "has no carrier", "no route"]),
        "bridge-down": (
            node.name,
            ["link set br0 down"],
            ["a port of br0, is in state disabled", "br0 is down"],
        ),
        "mtu": (pod.name, ["link set eth0 mtu 1300"], ["mtu"]),
        "nic-mtu": (node.name, ["link set eth0 mtu 1400"], ["mtu"]),
        "duplicate": (pod.name, [f"addr add {other.ipv4}/32 dev eth0"], [other.ipv4]),
        "no-address": (pod.name, ["addr flush dev eth0"], [pod.ipv4]),
        "no-route": (pod.name, ["route del default"], ["no route"]),
    }[kind]
    plan.add(f"fault.{kind}", at, ip4=lines, tokens=tokens)
    if kind == "bridge-down":
        inside = [pod.name for pod in node.pods if pod.how == "bridge"]
        for name in inside[:2]:
            plan.aim(node.ipv4, src=name)
    if kind in ("link-down", "host-down"):
        plan.aim(plan.node_of(pod).ipv4, src=pod.name)
    for _ in range(3):
        plan.aim(pod.ipv4)
    plan.aim(pod.ipv4, proto="udp")
    if kind == "duplicate":
        plan.aim(other.ipv4)
