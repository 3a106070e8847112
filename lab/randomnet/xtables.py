"""iptables rules, in both backends: the matches and targets that agents use, and kube-proxy's services.

As in `nftables`, every rule jumps to a chain of its own, so that a trace's evidence names it.
"""

from __future__ import annotations

from collections.abc import Callable

from lab.randomnet.model import PORT
from lab.randomnet.plan import PODS4, Plan

Match = Callable[[Plan, str, str], str]
_CHAINS = {
    "filter": ("FORWARD", "FORWARD", "INPUT", "OUTPUT"),
    "mangle": ("PREROUTING", "FORWARD", "POSTROUTING"),
    "raw": ("PREROUTING", "OUTPUT"),
}


def _one_of(*texts: str) -> Match:
    return lambda plan, _addr, _chain: plan.rng.choice(texts)


def _addrs(plan: Plan, addr: str, _chain: str) -> str:
    return plan.rng.choice([f"-d {addr}", f"! -s {addr}", f"-s {addr}"])


def _devs(plan: Plan, _addr: str, chain: str) -> str:
    word = "-o" if chain in ("OUTPUT", "POSTROUTING") else "-i"
    return f"{word} {plan.rng.choice(['eth0', 'br0', 'v+'])}"


def _iprange(_plan: Plan, addr: str, _chain: str) -> str:
    return f"-m iprange --dst-range {addr}-{addr}" if ":" not in addr else f"-d {addr}"


def _set(plan: Plan, addr: str, _chain: str) -> str:
    return f"-m set {plan.rng.choice(['', '! '])}--match-set SETNAME dst"


MATCHES: dict[str, Match] = {
    "address": _addrs,
    "device": _devs,
    "iprange": _iprange,
    "set": _set,
    "comment": _one_of('-m comment --comment "why"'),
    "conntrack": _one_of(
        "-m conntrack --ctstate NEW",
        "-m conntrack --ctstate ESTABLISHED,RELATED",
        "-m conntrack ! --ctstate INVALID",
        "-m state --state NEW",
        "-m conntrack --ctstate DNAT",
    ),
    "multiport": _one_of(
        "-p tcp -m multiport --dports 80,81,8080",
        "-p udp -m multiport --dports 8000:9000,53",
        "-p tcp -m multiport --sports 20000:20010",
    ),
    "tcp": _one_of(
        "-p tcp --dport 8080", "-p tcp --syn", "-p tcp --tcp-flags SYN,ACK SYN", "-p tcp ! --sport 20003"
    ),
    "udp": _one_of("-p udp --dport 8080", "-p udp --sport 20000:20012"),
    "mark": _one_of("-m mark --mark 0x10/0xf0", "-m mark ! --mark 0x0"),
    "addrtype": _one_of(
        "-m addrtype --dst-type LOCAL", "-m addrtype ! --dst-type LOCAL", "-m addrtype --src-type UNICAST"
    ),
    "statistic": _one_of(
        "-m statistic --mode random --probability 0.5", "-m statistic --mode nth --every 2 --packet 0"
    ),
    "length": _one_of("-m length --length 60:84", "-m length ! --length 0:100"),
    "ttl": _one_of("-m ttl --ttl-gt 60", "-m ttl --ttl-lt 5"),
    "dscp": _one_of("-m dscp --dscp 0x04", "-m tos --tos 0x10/0x3f"),
    "limit": _one_of("-m limit --limit 1000/sec"),
    "u32": _one_of("-m u32 --u32 6&0xFF=17"),
    "pkttype": _one_of("-m pkttype --pkt-type unicast"),
    "connmark": _one_of("-m connmark --mark 0x0"),
}


def filters(plan: Plan) -> None:
    """Add iptables rules to a node."""
    for _ in range(plan.rng.choice([0, 0, 1, 2])):
        rng = plan.rng
        node = rng.choice(plan.nodes)
        backend = rng.choice(["nft", "nft", "legacy"])
        table = rng.choice(["filter", "filter", "mangle", "raw"])
        sets, declared, rules, features = [], [], [], []
        for _ in range(rng.choice([1, 2, 3])):
            addr = rng.choice(plan.addresses(False))
            chain = rng.choice(_CHAINS[table])
            name = rng.choice(sorted(set(MATCHES) - ({"conntrack"} if table == "raw" else set())))
            own, ipset = f"C{plan.unique()}X", f"nvs{plan.unique()}"
            if name == "set":
                kind = rng.choice(["hash:ip", "hash:net"])
                sets += [f"create {ipset} {kind}", f"add {ipset} {addr}"]
            words = MATCHES[name](plan, addr, chain).replace("SETNAME", ipset)
            target, does = _target(plan, table, chain)
            declared.append(f":{own} - [0:0]")
            rules += [f"-A {chain} {words} -j {own}", f"-A {own} {does}"]
            features += [(f"xt.{name}", own), (f"xt-target.{target}", own)]
            plan.aim(addr)
            plan.aim(addr, src=rng.choice([pod.name for pod in node.pods]))
        text = "\n".join([f"*{table}", *declared, *rules, "COMMIT"]) + "\n"
        tokens = [f"{word} {own}" for _, own in features for word in ("jump", "-j", "-g")]
        program = f"iptables-{backend}-restore"
        plan.add(
            f"xt-backend.{backend}-{table}", node.name, ipset=sets, xtables={program: text}, tokens=tokens
        )
        for feature, own in features:
            plan.add(feature, node.name, tokens=[f"jump {own}", f"-j {own}"])


def _target(plan: Plan, table: str, chain: str) -> tuple[str, str]:
    choices = [("DROP", "-j DROP"), ("ACCEPT", "-j ACCEPT"), ("RETURN", "-j RETURN"), ("LOG", "-j LOG")]
    if table == "filter":
        choices += [("DROP", "-j DROP"), ("REJECT", "-j REJECT")]
        choices += [("REJECT-with", "-j REJECT --reject-with icmp-admin-prohibited")]
        choices += [("REJECT-tcp-reset", "-p tcp -j REJECT --reject-with tcp-reset")]
    if table == "mangle":
        choices += [("MARK", "-j MARK --set-xmark 0x10/0xf0"), ("CONNMARK", "-j CONNMARK --set-mark 1")]
        choices += [("DSCP", "-j DSCP --set-dscp 0x04"), ("TTL", "-j TTL --ttl-set 40")]
    if table == "raw":
        choices += [("NOTRACK", "-j NOTRACK"), ("CT", "-j CT --notrack")]
    return plan.rng.choice(choices)


def services(plan: Plan) -> None:
    """Add services as kube-proxy does, in one of its modes, to every node."""
    if not plan.chance(0.5):
        return
    rng = plan.rng
    pods = rng.sample(plan.pods, min(len(plan.pods), rng.choice([1, 2, 3])))
    service = f"10.97.0.{plan.unique()}"
    mode = rng.choice(["iptables-nft", "iptables-legacy", "nftables"])
    for node in plan.nodes:
        config: dict[str, object]
        if mode == "nftables":
            config = {"nft": _nft_service(service, [pod.ipv4 for pod in pods])}
        else:
            config = {"xtables": {f"{mode}-restore": _iptables_service(service, [pod.ipv4 for pod in pods])}}
        # On a node, a service address without a route would fail before OUTPUT's NAT is reached.
        plan.add(f"service.{mode}", node.name, tokens=[service], **config)
    for _ in range(5):
        sender = rng.choice([*(pod.name for pod in plan.pods), *(node.name for node in plan.nodes)])
        plan.aim(service, proto="tcp", dport=80, src=sender)
    plan.aim(service, proto="tcp", dport=443)


def _iptables_service(service: str, pods: list[str]) -> str:
    chains = ["KUBE-SERVICES", "KUBE-POSTROUTING", "KUBE-MARK-MASQ", "KUBE-SVC-A"]
    chains += [f"KUBE-SEP-{number}" for number in range(len(pods))]
    rules = [
        '-A PREROUTING -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        '-A OUTPUT -m comment --comment "kubernetes service portals" -j KUBE-SERVICES',
        "-A POSTROUTING -j KUBE-POSTROUTING",
        f'-A KUBE-SERVICES -d {service}/32 -p tcp -m comment --comment "default/web" -m tcp --dport 80 -j KUBE-SVC-A',
        f"-A KUBE-SVC-A ! -s {PODS4} -d {service}/32 -p tcp -m tcp --dport 80 -j KUBE-MARK-MASQ",
        "-A KUBE-POSTROUTING -m mark ! --mark 0x4000/0x4000 -j RETURN",
        "-A KUBE-POSTROUTING -j MARK --set-xmark 0x4000/0x0",
        "-A KUBE-POSTROUTING -j MASQUERADE",
        "-A KUBE-MARK-MASQ -j MARK --set-xmark 0x4000/0x4000",
    ]
    for number, pod in enumerate(pods):
        chance = f"-m statistic --mode random --probability {1 / (len(pods) - number):.10f} "
        last = number == len(pods) - 1
        rules.append(f"-A KUBE-SVC-A {'' if last else chance}-j KUBE-SEP-{number}")
        rules.append(f"-A KUBE-SEP-{number} -s {pod}/32 -j KUBE-MARK-MASQ")
        rules.append(f"-A KUBE-SEP-{number} -p tcp -m tcp -j DNAT --to-destination {pod}:{PORT}")
    return "\n".join(["*nat", *(f":{chain} - [0:0]" for chain in chains), *rules, "COMMIT"]) + "\n"


def _nft_service(service: str, pods: list[str]) -> str:
    ends = ", ".join(f"{number} : {pod} . {PORT}" for number, pod in enumerate(pods))
    return f"""table ip kube-proxy {{
chain mark-for-masquerade {{
meta mark set meta mark or 0x4000
}}
chain masquerading {{
type nat hook postrouting priority srcnat
meta mark & 0x4000 == 0 return
meta mark set meta mark xor 0x4000
masquerade
}}
chain service-web {{
ip daddr {service} tcp dport 80 ip saddr != {PODS4} jump mark-for-masquerade
meta l4proto tcp dnat ip to numgen random mod {len(pods)} map {{ {ends} }}
}}
map service-ips {{
type ipv4_addr . inet_proto . inet_service : verdict
elements = {{ {service} . tcp . 80 : goto service-web }}
}}
chain services {{
ip daddr . meta l4proto . th dport vmap @service-ips
}}
chain nat-prerouting {{
type nat hook prerouting priority dstnat
jump services
}}
chain nat-output {{
type nat hook output priority -100
jump services
}}
}}
"""


def established(plan: Plan) -> None:
    """Let some flows begin before rules change: a drop and a translation that come late."""
    if not plan.chance(0.3):
        return
    node, pod = plan.rng.choice(plan.nodes), plan.rng.choice(plan.pods)
    chain = f"l{plan.unique()}x"
    late = plan.rng.choice(
        [
            "ct state established accept\nudp dport 8080 drop",
            "udp dport 8080 drop",
            "ct state new drop",
            "ct state invalid drop",
        ]
    )
    hook = plan.rng.choice(["forward", "input", "output"])
    text = f"table ip nv{chain} {{\nchain {chain} {{\ntype filter hook {hook} priority 5\n{late}\n}}\n}}\n"
    plan.add("established", node.name, nft=text, late=True, tokens=[f"{chain}:", f"{chain} ("])
    if plan.chance(0.5):
        nat = f"table ip nvn{chain} {{\nchain p {{\ntype nat hook prerouting priority -105\nudp dport 8080 dnat to {plan.rng.choice(plan.addresses(False))}\n}}\n}}\n"
        plan.add(
            "established.late-nat",
            node.name,
            nft=nat,
            late=True,
            tokens=["udp dport 8080 dnat", "th dport 8080 dnat"],
        )
    for _ in range(5):
        plan.aim(pod.ipv4, proto="udp", established=True)
