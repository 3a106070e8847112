"""Calico: devices cali*, tunnels, and Felix's chains cali-*, in iptables' tables or in nftables' `calico`.

Felix names a policy in a comment on the first rule of its chain (cali-pi-*, cali-po-*), and says in the
chain of a workload's device (cali-tw-DEVICE: to it, cali-fw-DEVICE: from it) when a policy accepted the
packet and when none did. In nftables chains have their layer before their name: filter-cali-FORWARD.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from netviz.core.model.addr import format_ip
from netviz.core.model.netfilter import ChainBody, NftChain
from netviz.core.sim.index import Index
from netviz.core.sim.kubernetes.seen import Seen, SeenRule
from netviz.core.sim.nft.written import written
from netviz.core.sim.steps import Neighbour
from netviz.core.state.node import NetnsState

FAMILIES = {"ip": 2, "ip6": 10}
# What Felix gives pods as their gateway: for IPv6, the link-local address of the MAC ee:ee:ee:ee:ee:ee.
GATEWAYS = ("169.254.1.1", "fe80::ecee:eeff:feee:eeee")
WORKLOADS = ("cali-tw-", "cali-fw-")
POLICIES = ("cali-pi-", "cali-po-", "cali-pri-", "cali-pro-")
_LAYER = re.compile(r"^(?:filter|nat|mangle|raw)-(?=cali-)")
_MARK = re.compile(r"mark\D+(0x[0-9a-f]+)")
_POLICY = re.compile(
    r"^(?:(?P<kind>\w*Policy)|Profile) (?P<name>\S+) (?:ingress|egress)$",
)
_DEVICES = {
    "vxlan.calico": ("vxlan", "Calico's VXLAN device"),
    "vxlan-v6.calico": ("vxlan", "Calico's VXLAN device for IPv6"),
    "tunl0": ("ipip", "the IPIP device that Calico uses"),
    "wireguard.cali": ("wireguard", "Calico's WireGuard device"),
    "wg-v6.cali": ("wireguard", "Calico's WireGuard device for IPv6"),
}

DEVICE_NAMES = (*_DEVICES, "cali")


def rules(seen: Seen) -> str:
    """Say what Felix's rules that matched mean, or ""."""
    own = [rule for rule in seen.rules if _is_felix(rule)]
    if not own:
        return ""
    words = _verdicts(seen, own)
    last = own[-1]
    if last is seen.deciding:
        words += _deciding(seen, last)
    return "Calico's: " + "; ".join(words) if words else ""


def _is_felix(rule: SeenRule) -> bool:
    """Tell whether Felix made a rule: by its chain, or by the hash that stands in the comment."""
    return _plain(rule.chain).startswith("cali-") or rule.comment.startswith("cali:")


def _plain(chain: str) -> str:
    return _LAYER.sub("", chain)


def _verdicts(seen: Seen, own: list[SeenRule]) -> list[str]:
    """Tell what the workloads' policies said, in order: who let the packet pass, or who didn't."""
    words: list[str] = []
    tried: list[str] = []
    workload = ""
    for rule in own:
        chain = _plain(rule.chain)
        at_workload = chain.startswith(WORKLOADS)
        if at_workload and chain != workload:
            workload, tried = chain, []
        if _plain(rule.target).startswith(POLICIES):
            tried.append(_policy_name(seen, rule.target))
        if at_workload and (said := _verdict(rule, tried)):
            device = chain[len(WORKLOADS[0]) :]
            way = "in to" if chain.startswith(WORKLOADS[0]) else "out of"
            words.append(f"{said} {way} {seen.pod_behind(device) or device}")
    return words


def _verdict(rule: SeenRule, tried: list[str]) -> str:
    """Say what a rule of a workload's chain decides; `tried` are the policies that were asked."""
    said = " ".join(rule.comments)
    if "Return if policy accepted" in said or "Return if profile accepted" in said:
        return f"{tried[-1] if tried else 'a policy'} lets it"
    if "Drop if no" in said:
        return f"{', '.join(tried)}: no policy lets it" if tried else "no policy lets it"
    if "ESTABLISHED" in rule.text.upper() and "accept" in rule.text.lower():
        return "it belongs to a connection that may go"
    return ""


def _policy_name(seen: Seen, chain: str) -> str:
    """Name a policy by the comment on the first rule of its chain."""
    family, table = seen.table
    key = (FAMILIES.get(family, 0), table, chain)
    record = seen.ns.nft_chains.get(key) or seen.ns.xt_chains.get(key)
    body = seen.cluster.bodies.get(record.body) if record is not None and record.body else None
    if isinstance(body, ChainBody) and body.rules:
        for text in written(body, 0, key[0], key in seen.ns.xt_chains).comments:
            for part in text.split(";"):
                found = _POLICY.match(part.strip())
                if found is not None:
                    return _readable(found["kind"] or "", found["name"])
    plain = _plain(chain)
    return (
        _readable("", plain.split("-", 2)[2]) if plain.startswith(("cali-pri-", "cali-pro-")) else "a policy"
    )


def _readable(kind: str, name: str) -> str:
    """Turn Calico's name into the user's: Kubernetes' policies are knp.default.NAME, namespaces' profiles kns.NAME."""
    if not kind:
        if name.startswith("kns."):
            return f"the profile of namespace {name[4:]}"
        return f"profile {name}"
    if name.startswith("default/knp.default."):
        name = f"default/{name.removeprefix('default/knp.default.')}"
    name = name.replace("/knp.default.", "/")
    what = "global network policy" if kind == "GlobalNetworkPolicy" else "network policy"
    return f"{what} {name}"


def _deciding(seen: Seen, rule: SeenRule) -> list[str]:
    """Say what a deciding rule outside the workloads' chains does."""
    chain, text = _plain(rule.chain), rule.text.lower()
    if chain.startswith(("cali-pi-", "cali-po-")) and "drop" in text:
        return [f"{_policy_name(seen, rule.chain)} denies it"]
    if chain == "cali-nat-outgoing":
        return ["masquerading of what pods send out of the pods' networks"]
    if "rpfilter" in text and "drop" in text:
        return ["a pod may only send from its own addresses"]
    if "policy explicitly accepted" in text:
        bit = _MARK.search(text)
        return [f"a policy has accepted it{f' (mark {bit[1]})' if bit is not None else ''}"]
    comments = [part.strip() for comment in rule.comments for part in comment.split(";")]
    return [f'"{c}"' for c in comments if c and not c.startswith(("cali:", "Return if", "Drop if", "End of"))]


def _build_own(chains: Mapping[Any, NftChain]) -> bool:
    return any(_plain(name).startswith("cali-") for _, _, name in chains)


_has_own: Index[Mapping[Any, NftChain], bool] = Index(_build_own)


def _is_here(ns: NetnsState) -> bool:
    """Tell whether Felix runs in a namespace: it has left chains or devices of its own."""
    if any(link.ifname.startswith("cali") and link.kind == "veth" for link in ns.links.values()):
        return True
    return _has_own(ns.nft_chains) or _has_own(ns.xt_chains)


def device(seen: Seen) -> str:
    """Say what Calico's device is, or ""."""
    link = seen.link
    if link is None:
        return ""
    kind, phrase = _DEVICES.get(link.ifname, ("", ""))
    if phrase and link.kind == kind:
        return phrase if link.ifname != "tunl0" or _is_here(seen.ns) else ""
    if link.ifname.startswith("cali") and link.kind == "veth":
        pod = seen.pod_behind(link.ifname)
        return f"Calico's device that leads to {pod}" if pod else ""
    return ""


def neighbour(seen: Seen) -> str:
    """Say what Calico's pods take for their gateway, or ""."""
    link = seen.link
    what = seen.step.what
    asked = isinstance(what, Neighbour) and format_ip(what.nexthop) in GATEWAYS
    other = seen.peer(link) if link is not None and asked else None
    if other is None or not other[1].ifname.startswith("cali"):
        return ""
    return f"the gateway of Calico's pods, for which {other[1].ifname} answers on the node"
