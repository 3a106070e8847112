"""Faults of netfilter: rules that drop, rules that translate wrongly or not at all."""

from __future__ import annotations

from lab import plan
from lab.changes import Changes
from lab.faults.model import BY_NODES, Effect, Target, fault
from lab.faults.routes import BY_ONE_ROUTE, NOBODY

_SRCNAT = "type nat hook postrouting priority srcnat; policy accept;"


def _ip(family: int) -> str:
    return "ip6" if family == 6 else "ip"


@fault(
    "masquerade-between-pods",
    "netfilter",
    "NODE rewrites the source of what its pods send to other nodes' pods: they see NODE's address instead"
    " of the pod's",
    kinds=BY_ONE_ROUTE,
    blame=("node", ""),
    affects=(Effect("NODE.pods", "others.pods", sources=True),),
)
def _masquerade_between_pods(changes: Changes, target: Target) -> None:
    node = target.node
    for family in node.families:
        ip, own, pods = _ip(family), node.pod_cidr(family), plan.pods_range(family)
        rule = f"{ip} saddr {own} {ip} daddr {pods} {ip} daddr != {own} counter masquerade"
        changes.add_nft_table(
            node.name, f"{ip} nv-masquerade-{node.name}", f"chain postrouting {{ {_SRCNAT} {rule}; }}"
        )


@fault(
    "masquerade-off",
    "netfilter",
    "NODE gives what its pods send to the outside no address of its own: the answers find no way back",
    blame=("node", ""),
    affects=(Effect("NODE.pods", "outside"), Effect("NODE.pods", "others.pods", sources=False)),
)
def _masquerade_off(changes: Changes, target: Target) -> None:
    for family in target.node.families:
        for chain in target.masquerade_chains:
            changes.set_xt_chain(target.node.name, family, "nat", chain, "")
        if not target.masquerade_chains:
            changes.insert_nft_rule(target.node.name, f"{_ip(family)} nv-masq postrouting", "counter return")


@fault(
    "snat-other-address",
    "netfilter",
    "NODE gives what its pods send to the outside an address that it doesn't have any more: the answers go"
    " to nobody",
    blame=("node", ""),
    affects=(Effect("NODE.pods", "outside"),),
)
def _snat_other_address(changes: Changes, target: Target) -> None:
    node = target.node
    for family in node.families:
        ip = _ip(family)
        rule = f"{ip} saddr {node.pod_cidr(family)} {ip} daddr != {plan.pods_range(family)} counter snat to {NOBODY[family]}"
        earlier = "type nat hook postrouting priority srcnat - 5; policy accept;"
        changes.add_nft_table(
            node.name, f"{ip} nv-snat-{node.name}", f"chain postrouting {{ {earlier} {rule}; }}"
        )


@fault(
    "drop-rule",
    "netfilter",
    "a rule on POD's node drops what is forwarded to POD, replies to it included: it has no connection but"
    " with its own node and, over a bridge, with the pods there",
    uses=("pod",),
    blame=("node", ""),
    affects=(
        Effect("others.pods+nodes!NODE", "POD"),
        Effect("POD", "others.pods+outside"),
        Effect("NODE.pods", "POD", both=True, at_home=True),
    ),
)
def _drop_rule(changes: Changes, target: Target) -> None:
    pod = target.need_pod()
    rules = "".join(f"{_ip(f)} daddr {pod.address(f)} counter drop; " for f in pod.families)
    body = f"chain forward {{ type filter hook forward priority filter; policy accept; {rules}}}"
    changes.add_nft_table(target.node.name, f"inet nv-drop-{pod.name}", body)


@fault(
    "udp-drop-rule",
    "netfilter",
    "a rule on NODE drops large UDP datagrams that it forwards, as a shaping or attack filter may: small"
    " ones pass, and TCP connects",
    blame=("node", ""),
    affects=(
        Effect("NODE.pods", "others.pods", both=True, sizes=("large",)),
        Effect("nodes!NODE", "NODE.pods", sizes=("large",)),
        Effect("NODE.pods", "outside", sizes=("large",)),
        Effect("NODE.pods", "NODE.pods", sizes=("large",), at_home=True),
    ),
)
def _udp_drop_rule(changes: Changes, target: Target) -> None:
    body = "chain forward { type filter hook forward priority filter; meta l4proto udp meta length > 1300 counter drop; }"
    changes.add_nft_table(target.node.name, "inet nv-drop-large", body)


@fault(
    "raw-drop-by-source",
    "netfilter",
    "a rule on OTHER, before routing, drops whatever has NODE's pods' addresses as its source",
    uses=("node", "other"),
    kinds=BY_NODES,
    blame=("other", "uplink"),
    affects=(
        Effect("NODE.pods", "OTHER.pods", sources=True),
        # Over the tunnel NODE itself has an address of that range.
        Effect("NODE", "OTHER.pods", kinds=("vxlan",)),
        Effect("OTHER+OTHER.pods", "NODE.pods"),
    ),
)
def _raw_drop(changes: Changes, target: Target) -> None:
    node = target.node
    rules = "".join(f"{_ip(f)} saddr {node.pod_cidr(f)} counter drop; " for f in node.families)
    body = f"chain prerouting {{ type filter hook prerouting priority raw; policy accept; {rules}}}"
    changes.add_nft_table(target.need_other().name, f"inet nv-drop-from-{node.name}", body)


@fault(
    "both-backends",
    "leftovers",
    "NODE's rules are in nftables, but iptables' legacy tables, where nobody looks, drop what is forwarded"
    " over IPv4",
    kinds=("textbook", "vxlan", "routed", "ptp", "cni", "two-nics"),
    blame=("node", ""),
    affects=(
        Effect("NODE.pods", "others.pods", both=True, families=(4,)),
        Effect("nodes!NODE", "NODE.pods", families=(4,)),
        Effect("NODE.pods", "outside", families=(4,)),
        Effect("NODE.pods", "NODE.pods", families=(4,), at_home=True),
    ),
)
def _both_backends(changes: Changes, target: Target) -> None:
    changes.set_xt_policy(target.node.name, "iptables-legacy", "FORWARD", "DROP")


@fault(
    "chain-missing-for-pod",
    "policies",
    "Felix's chains on POD's node know nothing of its device: what comes from it or goes to it is dropped as"
    " of an unknown interface",
    uses=("pod",),
    kinds=("routed",),
    blame=("node", "veth"),
    affects=(Effect("any", "POD", both=True), Effect("POD", "outside")),
)
def _chain_missing(changes: Changes, target: Target) -> None:
    pod = target.need_pod()
    drop = '-m comment --comment "Unknown interface" -j DROP'
    for family in pod.families:
        for way, option in (("from", "-i"), ("to", "-o")):
            chain = f"cali-{way}-wl-dispatch"
            rules = f"-A {chain} {option} {pod.host_ifname} {drop}"
            others = [
                f"-A {chain} {option} {found.host_ifname} -g cali-{way[0]}w-{found.host_ifname}"
                for found in target.node.pods.values()
                if found is not pod
            ]
            lines = [*others, rules, f"-A {chain} {drop}"]
            changes.set_xt_chain(target.node.name, family, "filter", chain, "\n".join(lines))
