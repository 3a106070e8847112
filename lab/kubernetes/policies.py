"""A small NetworkPolicy agent: it reads the API's lists and writes a node's rules as kube-router does.

filter: INPUT, FORWARD and OUTPUT lead to KUBE-ROUTER-INPUT, -FORWARD and -OUTPUT, which have a rule for each
pod of the node that some policy selects. It leads to KUBE-POD-FW-HASH, which runs through the policies'
chains KUBE-NWPLCY-HASH; those mark 0x10000 what is allowed, by sets of addresses (KUBE-SRC-, KUBE-DST-), and
what carries no mark then is rejected.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from lab import xtables
from lab.spec import Pod

Json = dict[str, Any]
Chains = dict[str, list[str]]
Labels = Mapping[str, Mapping[str, str]]
OWN = ("KUBE-ROUTER-", "KUBE-POD-FW-", "KUBE-NWPLCY-")
MARK = "0x10000/0x10000"
NODE_PORTS = "30000:32767"
_TRACKED = '-m comment --comment "rule for stateful firewall for pod" -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT'


class Member(msgspec.Struct, frozen=True):
    """A pod as policies see it."""

    name: str
    namespace: str
    labels: dict[str, str]
    address: str
    node: str


class Rules(msgspec.Struct):
    """What is to be on a node: chains of table filter, and sets: name -> (type, entries)."""

    chains: Chains
    sets: dict[str, tuple[str, list[str]]]


def members(pods: Sequence[Pod], family: int) -> list[Member]:
    """List the cluster's pods with their addresses of a family."""
    return [Member(pod.name, pod.namespace, pod.labels, pod.address(family), pod.node) for pod in pods]


def check() -> None:
    """Raises: ProgramError where a program is missing."""
    for program in ("iptables", "ipset"):
        xtables.require(program)


def source_set(name: str, namespace: str, family: int) -> str:
    """Name the set of the pods that the first ingress rule of a policy lets in."""
    return _set_name("KUBE-SRC-" + _digest(f"{namespace}/{name}", "ingress", "0", "pods"), family)


def write(netns: Path, family: int, rules: Rules) -> None:
    """Bring a node up to date; without a policy nothing of it remains."""
    hooks = ("INPUT", "FORWARD", "OUTPUT")
    listed = xtables.run(netns, [xtables.program("iptables", family), "-w", "-S"])
    is_hooked = "-N KUBE-ROUTER-INPUT" in listed
    if not rules.chains and not is_hooked:
        return
    _load_sets(netns, family, rules.sets)
    jumps = {
        hook: f"{_note(f'kube-router netpol - {_digest(hook)}')} -j KUBE-ROUTER-{hook}" for hook in hooks
    }
    if rules.chains and not is_hooked:
        added = [f"-I {hook} 1 {jump}" for hook, jump in jumps.items()]
        xtables.restore(netns, family, xtables.table("filter", [f"KUBE-ROUTER-{h}" for h in hooks], added))
    if not rules.chains:
        removed = [f"-D {hook} {jump}" for hook, jump in jumps.items()]
        xtables.restore(netns, family, xtables.table("filter", [], removed))
    xtables.sync(netns, family, "filter", rules.chains, OWN)
    _drop_sets(netns, family, rules.sets)


def _set_name(name: str, family: int) -> str:
    """IPv6's sets have names of their own: a name is there once in a namespace."""
    return f"inet6:{name}" if family == 6 else name


def _load_sets(netns: Path, family: int, sets: Mapping[str, tuple[str, list[str]]]) -> None:
    lines = []
    for name, (kind, entries) in sets.items():
        lines += [
            f"create {name} {kind} family {'inet6' if family == 6 else 'inet'} timeout 0",
            f"flush {name}",
        ]
        lines += [f"add {name} {entry} timeout 0" for entry in entries]
    if lines:
        xtables.run(netns, ["ipset", "restore", "-exist"], "\n".join([*lines, ""]))


def _drop_sets(netns: Path, family: int, sets: Mapping[str, object]) -> None:
    prefixes = tuple(_set_name(prefix, family) for prefix in ("KUBE-SRC-", "KUBE-DST-"))
    there = xtables.run(netns, ["ipset", "list", "-n"]).split()
    for name in there:
        if name.startswith(prefixes) and name not in sets:
            xtables.run(netns, ["ipset", "destroy", name])


def rules_of(
    node: str,
    policies: Sequence[Json],
    pods: Sequence[Member],
    namespaces: Labels,
    services: str,
    family: int,
) -> Rules:
    """Work out what a node needs. `services` is the range of cluster addresses."""
    made = Rules({}, {})
    if not policies:
        return made
    chosen = {_key(policy): _selected(policy, pods) for policy in policies}
    forward: list[str] = []
    into: list[str] = [
        f"-d {services} {_note(f'allow traffic to cluster IP - {_digest(services)}')} -j RETURN",
        *(
            f"-p {proto} {_note(f'allow LOCAL {proto.upper()} traffic to node ports - {_digest(proto)}')} "
            f"-m addrtype --dst-type LOCAL -m multiport --dports {NODE_PORTS} -j RETURN"
            for proto in ("tcp", "udp")
        ),
    ]
    out: list[str] = []
    made.chains |= {"KUBE-ROUTER-INPUT": into, "KUBE-ROUTER-FORWARD": forward, "KUBE-ROUTER-OUTPUT": out}
    for policy in policies:
        made.chains[_policy_chain(policy)] = _policy_rules(
            policy, chosen[_key(policy)], pods, namespaces, family, made
        )
    for pod in pods:
        mine = [policy for policy in policies if pod in chosen[_key(policy)]]
        ways = {way for policy in mine for way in _ways(policy)}
        if pod.node == node and pod.address and ways:
            made.chains[_pod_chain(pod)] = _pod_rules(pod, mine, ways)
            _lead(pod, ways, into, forward, out)
    return made


def _lead(pod: Member, ways: set[str], into: list[str], forward: list[str], out: list[str]) -> None:
    """Lead a pod's packets to its chain, in each hook where they pass."""
    chain = _pod_chain(pod)
    bridged = "-m physdev --physdev-is-bridged "
    whom = f"POD name:{pod.name} namespace: {pod.namespace} to chain {chain}"
    to = f"-d {_host(pod.address)} {{}}{_note(f'rule to jump traffic destined to {whom}')} -j {chain}"
    frm = f"-s {_host(pod.address)} {{}}{_note(f'rule to jump traffic from {whom}')} -j {chain}"
    if "Ingress" in ways:
        forward += [to.format(bridged), to.format("")]
        out.append(to.format(""))
    if "Egress" in ways:
        forward += [frm.format(bridged), frm.format("")]
        out.append(frm.format(""))
        into.append(frm.format(""))


def _pod_rules(pod: Member, policies: Sequence[Json], ways: set[str]) -> list[str]:
    """Write a pod's chain: run through its policies, then reject what none of them marked."""
    whom = f"POD name:{pod.name} namespace: {pod.namespace}"
    runs = [
        f"{_note('run through nw policy ' + policy['metadata']['name'])} -j {_policy_chain(policy)}"
        for policy in policies
    ]
    local = "rule to permit the traffic traffic to pods when source is the pod's local node"
    # IPv6 finds its neighbours by packets of its own, which no policy may stop.
    kinds = ("neighbour-solicitation", "neighbour-advertisement") if ":" in pod.address else ()
    rules = [
        f"-p icmpv6 {_note(f'allow icmp {kind} messages')} -m icmp6 --icmpv6-type {kind} -j ACCEPT"
        for kind in kinds
    ]
    if "Egress" in ways:
        rules += [_TRACKED, *runs]
    if "Ingress" in ways:
        rules += [
            _TRACKED,
            f"-d {_host(pod.address)} {_note(local)} -m addrtype --src-type LOCAL -j ACCEPT",
            *runs,
        ]
    unmarked = f"-m mark ! --mark {MARK}"
    version = "icmp6" if ":" in pod.address else "icmp"
    return [
        *rules,
        f"{_note(f'rule to log dropped traffic {whom}')} {unmarked} -m limit --limit 10/min --limit-burst 10"
        " -j NFLOG --nflog-group 100",
        f"{_note(f'rule to REJECT traffic destined for {whom}')} {unmarked} -j REJECT"
        f" --reject-with {version}-port-unreachable",
        "-j MARK --set-xmark 0x0/0x10000",
    ]


def _policy_rules(
    policy: Json,
    chosen: Sequence[Member],
    pods: Sequence[Member],
    namespaces: Labels,
    family: int,
    made: Rules,
) -> list[str]:
    """Write a policy's chain, and the sets that it needs."""
    name, namespace = policy["metadata"]["name"], policy["metadata"]["namespace"]
    own = [pod.address for pod in chosen if pod.address]
    rules: list[str] = []
    for way, peer_field, own_prefix, far_prefix in (
        ("ingress", "from", "KUBE-DST-", "KUBE-SRC-"),
        ("egress", "to", "KUBE-SRC-", "KUBE-DST-"),
    ):
        if way.capitalize() not in _ways(policy):
            continue
        mine = _add_set(made, family, own_prefix, own, f"{namespace}/{name}", way)
        for number, rule in enumerate(policy["spec"].get(way) or []):
            peers = rule.get(peer_field) or []
            sources = [
                (
                    words,
                    _add_set(
                        made,
                        family,
                        far_prefix,
                        entries,
                        f"{namespace}/{name}",
                        way,
                        str(number),
                        words,
                        kind=kind,
                    ),
                )
                for words, kind, entries in _peers(peers, namespace, pods, namespaces, family)
            ]
            if not peers:
                sources = [("all sources" if way == "ingress" else "all destinations", "")]
            for words, far in sources:
                note = _words(way, words, name, namespace)
                sets = [(mine, "dst"), (far, "src")] if way == "ingress" else [(mine, "src"), (far, "dst")]
                match = " ".join(
                    f"-m set --match-set {one} {side}"
                    for one, side in sorted(sets, key=lambda s: s[1], reverse=True)
                    if one
                )
                rules += _allow(note, match, rule.get("ports") or [])
    return rules


def _words(way: str, words: str, name: str, namespace: str) -> str:
    if words == "pods":
        return f"rule to ACCEPT traffic from source pods to dest pods selected by policy name {name} namespace {namespace}"
    if way == "ingress":
        return f"rule to ACCEPT traffic from {words} to dest pods selected by policy name: {name} namespace {namespace}"
    return f"rule to ACCEPT traffic from source pods to {words} selected by policy name: {name} namespace {namespace}"


def _allow(note: str, match: str, ports: Sequence[Json]) -> list[str]:
    """Mark what a rule allows, and return with it."""
    rules = []
    for port in ports or [{}]:
        proto = port.get("protocol", "TCP").lower()
        number = port.get("port")
        until = f":{port['endPort']}" if "endPort" in port else ""
        first = f"-p {proto} " if port else ""
        last = f" -m {proto} --dport {number}{until}" if number is not None else ""
        rules.append(f"{first}{_note(note)} {match}{last} -j MARK --set-xmark {MARK}")
        rules.append(f"{first}{_note(note)} {match} -m mark --mark {MARK}{last} -j RETURN")
    return rules


def _peers(
    peers: Sequence[Json], namespace: str, pods: Sequence[Member], namespaces: Labels, family: int
) -> list[tuple[str, str, list[str]]]:
    """List what a rule's peers are: words, the set's type, its entries. Pods come first, then blocks."""
    named = [peer for peer in peers if "ipBlock" not in peer]
    blocks = [peer["ipBlock"] for peer in peers if "ipBlock" in peer]
    found = []
    if named:
        addresses = [
            pod.address
            for pod in pods
            if pod.address and any(_matches(p, pod, namespace, namespaces) for p in named)
        ]
        found.append(("pods", "hash:ip", addresses))
    entries = [
        entry
        for block in blocks
        if (":" in block["cidr"]) == (family == 6)
        for entry in (*_halves(block["cidr"]), *(f"{one} nomatch" for one in block.get("except", [])))
    ]
    if blocks:
        found.append(("specified ipBlocks", "hash:net", entries))
    return found


def _halves(cidr: str) -> tuple[str, ...]:
    """Write a range for a set of networks, which takes none of length 0: as kube-router does, by its two halves."""
    if not cidr.endswith("/0"):
        return (cidr,)
    return ("::/1", "8000::/1") if ":" in cidr else ("0.0.0.0/1", "128.0.0.0/1")


def _matches(peer: Json, pod: Member, namespace: str, namespaces: Labels) -> bool:
    if "namespaceSelector" in peer:
        if not selects(peer["namespaceSelector"], namespaces.get(pod.namespace, {})):
            return False
    elif pod.namespace != namespace:
        return False
    return selects(peer.get("podSelector", {}), pod.labels)


def selects(selector: Json, labels: Mapping[str, str]) -> bool:
    """Tell whether a label selector of the API matches."""
    if not (selector.get("matchLabels") or {}).items() <= labels.items():
        return False
    for one in selector.get("matchExpressions") or []:
        key, values = one["key"], one.get("values") or []
        holds = {
            "In": labels.get(key) in values,
            "NotIn": labels.get(key) not in values,
            "Exists": key in labels,
            "DoesNotExist": key not in labels,
        }
        if not holds[one["operator"]]:
            return False
    return True


def _selected(policy: Json, pods: Sequence[Member]) -> list[Member]:
    namespace, selector = policy["metadata"]["namespace"], policy["spec"].get("podSelector") or {}
    return [pod for pod in pods if pod.namespace == namespace and selects(selector, pod.labels)]


def _ways(policy: Json) -> set[str]:
    spec = policy["spec"]
    return set(spec.get("policyTypes") or (["Ingress", "Egress"] if spec.get("egress") else ["Ingress"]))


def _add_set(
    made: Rules, family: int, prefix: str, entries: list[str], *what: str, kind: str = "hash:ip"
) -> str:
    name = _set_name(prefix + _digest(*what), family)
    made.sets[name] = (kind, entries)
    return name


def _key(policy: Json) -> tuple[str, str]:
    return policy["metadata"]["namespace"], policy["metadata"]["name"]


def _policy_chain(policy: Json) -> str:
    return f"KUBE-NWPLCY-{_digest(*_key(policy))}"


def _pod_chain(pod: Member) -> str:
    return f"KUBE-POD-FW-{_digest(pod.namespace, pod.name)}"


def _digest(*words: str) -> str:
    return base64.b32encode(hashlib.sha256("/".join(words).encode()).digest()).decode()[:16]


def _note(text: str) -> str:
    return f'-m comment --comment "{text}"'


def _host(address: str) -> str:
    return f"{address}/{128 if ':' in address else 32}"
