"""Services as kube-proxy makes them, in each of its modes, and flows that were there before the rules."""

from __future__ import annotations

from lab.kubernetes import proxy_iptables, proxy_nftables
from lab.kubernetes.ports import Endpoint, ServicePort
from lab.randomnet.model import PORT
from lab.randomnet.plan import PODS4, Plan

SERVICES4 = "10.97.0.0/16"


def services(plan: Plan) -> None:
    """Add services as kube-proxy does, in one of its modes, to every node."""
    if not plan.chance(0.5):
        return
    rng = plan.rng
    pods = rng.sample(plan.pods, min(len(plan.pods), rng.choice([1, 2, 3])))
    service = f"10.97.0.{plan.unique()}"
    mode = rng.choice(["iptables-nft", "iptables-legacy", "nftables"])
    port = _port(service, tuple(sorted(Endpoint(pod.ipv4, PORT, pod.node) for pod in pods)))
    for node in plan.nodes:
        config: dict[str, object]
        if mode == "nftables":
            config = {"nft": proxy_nftables.table(node.name, node.ipv4, PODS4, SERVICES4, [port], "ip")}
        else:
            rules = proxy_iptables.whole(node.name, node.ipv4, PODS4, [port], 4)
            config = {"xtables": {f"{mode}-restore": rules}, "nfacct": list(proxy_iptables.ACCOUNTS)}
        # On a node, a service address without a route would fail before OUTPUT's NAT is reached.
        plan.add(f"service.{mode}", node.name, tokens=[service], **config)
    for _ in range(5):
        sender = rng.choice([*(pod.name for pod in plan.pods), *(node.name for node in plan.nodes)])
        plan.aim(service, proto="tcp", dport=80, src=sender)
    plan.aim(service, proto="tcp", dport=443)


def _port(service: str, endpoints: tuple[Endpoint, ...]) -> ServicePort:
    return ServicePort(name="web", cluster_ip=service, endpoints=endpoints)


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
