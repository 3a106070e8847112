"""Whether the rules of a policy's agent are for the pods that have the addresses now.

kube-router writes into each rule the pod that it is for, and matches its address. Where that address is another pod's now,
the agent has not followed: it applies to the new pod what was meant for the old one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

import msgspec

from netviz.core.check.claims import CLAIMS
from netviz.core.check.fact import Fact, Look
from netviz.core.check.problem import Edit, Problem
from netviz.core.check.repairs import BODIES
from netviz.core.check.text import affects, chain_listing, command, place
from netviz.core.model.addr import format_ip
from netviz.core.model.netfilter import ChainBody, NftChain, NftRuleBody, body_digest
from netviz.core.sim.trace import pod_name
from netviz.core.state.node import NetnsState

_FOR_POD = re.compile(rb"traffic (?:destined to|from) POD name:(\S+) namespace: ?(\S+)")
NETWORK_HEADER, EQUAL = 1, 0
# (offset, length) of addresses in the headers of IPv4 and IPv6.
ADDRESSES = frozenset(((12, 4), (16, 4), (8, 16), (24, 16)))
MAX_SHARED = 500_000
# An agent follows within some seconds.
GRACE_S = 10.0
Named = tuple[tuple[bytes, str], ...]


def _find(look: Look) -> Iterator[Problem]:
    root = look.root
    if root is None:
        return
    seen: set[tuple[bytes, str]] = set()
    for legacy, chains in ((False, root.nft_chains), (True, root.xt_chains)):
        for chain in chains.values():
            for addr, named in _named(look, chain):
                if (addr, named) in seen:
                    continue
                seen.add((addr, named))
                look.judged += 1
                pods = [
                    pod_name(one.netns)
                    for _, mine in look.find(CLAIMS, addr)
                    for one in mine
                    if one.rank == "pod"
                ]
                if pods and named not in pods:
                    yield _stale(look, root, chain, addr, named, pods, legacy)


def _named(look: Look, chain: NftChain) -> Named:
    """The addresses that a chain's rules match, with the pod that each rule says it is for."""
    if not chain.body:
        return ()
    known: Named | None = look.shared.get(chain.body)
    if known is None:
        body = look.bodies.get(chain.body)
        if not isinstance(body, ChainBody):
            look.unknown[f"{look.node.node}: the rules of chain {chain.name} are missing"] = None
            return ()
        if len(look.shared) > MAX_SHARED:
            look.shared.clear()
        known = look.shared[chain.body] = tuple(found for rule in body.rules for found in _of_rule(rule))
    return known


def _of_rule(rule: NftRuleBody) -> Iterator[tuple[bytes, str]]:
    comments = [rule.comment.encode()]
    comments += [bytes(e.attrs.get("info", b"")) for e in rule.exprs if e.attrs.get("name") == "comment"]
    said = next((found for text in comments if (found := _FOR_POD.search(text.split(b"\0", 1)[0]))), None)
    if said is None:
        return
    name = f"{said[2].decode('utf-8', 'replace')}/{said[1].decode('utf-8', 'replace')}"
    registers: dict[object, bool] = {}
    for expr in rule.exprs:
        attrs = expr.attrs
        if expr.name == "payload" and "dreg" in attrs:
            spot = (attrs.get("offset"), attrs.get("len"))
            registers[attrs["dreg"]] = attrs.get("base") == NETWORK_HEADER and spot in ADDRESSES
        elif expr.name == "cmp" and attrs.get("op") == EQUAL and registers.get(attrs.get("sreg")):
            yield bytes(attrs.get("data", b"")), name
        elif "dreg" in attrs:
            registers.pop(attrs["dreg"], None)


def _stale(
    look: Look, root: NetnsState, chain: NftChain, addr: bytes, named: str, pods: list[str], legacy: bool
) -> Problem:
    node, text, pod = root.key.node, format_ip(addr), pods[0]
    return Problem(
        kind="stale-policy",
        cause=f"{node}:{text}:{named}",
        severity="error",
        harm="breaks traffic",
        headline=f"policy rules on {node} take {text} for {named}, but it is {pod}'s: chain {chain.name}",
        consequence=f"What was meant for {named} is applied to {pod}: its traffic may be refused.",
        where=place(root.netns),
        both=f"{node}:{pod}:{named}",
        certainty="likely",
        affects=affects(pods),
        check=(command(root.netns, chain_listing(chain, legacy)),),
        rests_on=look.rests_on(),
        grace_s=GRACE_S,
        repair=_without(look, root, chain, addr, named, legacy),
    )


def _without(
    look: Look, root: NetnsState, chain: NftChain, addr: bytes, named: str, legacy: bool
) -> tuple[Edit, ...]:
    """The chain as it would be without the rules for a pod that match an address."""
    body = look.bodies.get(chain.body)
    if not isinstance(body, ChainBody):
        return ()
    kept = [n for n, rule in enumerate(body.rules) if (addr, named) not in _of_rule(rule)]
    left = ChainBody(tuple(body.rules[n] for n in kept))
    handles = tuple(chain.handles[n] for n in kept) if len(chain.handles) == len(body.rules) else ()
    digest = body_digest(left)
    changed = msgspec.structs.replace(chain, body=digest, handles=handles)
    section = "xt_chains" if legacy else "nft_chains"
    edits = (Edit(root.key, section, chain.key, changed), Edit(root.key, BODIES, digest, left))
    return edits if kept else edits[:1]


FACT = Fact(
    name="policy rules",
    demands="Rules that a policy's agent wrote for a pod are for the pod that has the address.",
    unit="rules",
    kinds=("stale-policy",),
    needs=("nft_chains", "xt_chains"),
    find=_find,
    asks=(CLAIMS,),
    lazy=True,
)
