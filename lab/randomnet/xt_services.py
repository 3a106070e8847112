"""Services as kube-proxy makes them, in each of its modes, and flows that were there before the rules."""

from __future__ import annotations

from lab.randomnet.model import PORT
from lab.randomnet.plan import PODS4, Plan


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
