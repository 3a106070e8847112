"""Netfilter in words: chains, rules as nft or iptables-save write them, what isn't known of them."""

from __future__ import annotations

import msgspec

from netviz.core.model.netfilter import NF_ACCEPT, NFPROTO_NAMES, SetBody
from netviz.core.plain import quoted
from netviz.core.sim.nft.elements import shown_of
from netviz.core.sim.nft.text import chain_text, list_command
from netviz.core.sim.nft.written import WrittenRule, written
from netviz.core.sim.steps import ChainRef, HookVerdict, RuleHit
from netviz.core.sim.steps.hook import NF_ACTIONS
from netviz.core.sim.trace import Step
from netviz.core.sim.words.show import Templates, copy_text


def chain_name(ref: ChainRef | None) -> str:
    """Name a chain: family, table, chain."""
    return chain_text(ref.chain) if ref is not None else ""


def hit_text(ref: ChainRef | None, hit: RuleHit | None) -> str:
    """Write a rule that matched in a chain's table; "" where there is none."""
    return hit_written(ref, hit).text if ref is not None and hit is not None else ""


def hit_written(ref: ChainRef, hit: RuleHit) -> WrittenRule:
    """Return a rule that matched in a chain's table, as it is written."""
    family, table = ref.chain.family, ref.chain.table

    def elements(name: str) -> tuple[SetBody, int] | None:
        return shown_of(ref.ns, (family, table, name), bodies=ref.bodies)

    return written(hit.of, hit.number, family, ref.legacy, ref.ns.ipsets, elements)


def matched_texts(what: HookVerdict) -> list[str]:
    """Write the rules that matched, each behind its chain's name."""
    return [f"{hit.within}: {hit_text(what.chain, hit)}" for hit in what.matched]


def stopped_text(what: HookVerdict) -> str:
    """Write a chain's verdict shortly: the node, the chain, and the rule that decided."""
    assert what.chain is not None
    where = chain_name(what.chain)
    if what.hit is not None and what.hit.within != what.chain.chain.name:
        where += f" > {what.hit.within}"
    rule = hit_text(what.chain, what.hit) or "its policy"
    return f"{where} on {what.chain.ns.key.node}: {rule}"


def delete_command(what: HookVerdict) -> str:
    """Say how to delete the rule that decided by hand; "" of a chain's policy, and of rules that have no handle."""
    if what.chain is None or what.chain.legacy or what.hit is None or not what.hit.handle:
        return ""
    chain = what.chain.chain
    family = NFPROTO_NAMES.get(chain.family, chain.family)
    return (
        f"nft delete rule {family} {quoted(chain.table)} {quoted(what.hit.within)} handle {what.hit.handle}"
    )


def _hook(step: Step) -> HookVerdict:
    assert isinstance(step.what, HookVerdict)
    return step.what


def _decided(step: Step) -> str:
    what = _hook(step)
    assert what.chain is not None
    chain = what.chain.chain
    rule = hit_text(what.chain, what.hit)
    if not rule:
        policy = "accept" if chain.policy == NF_ACCEPT else "drop"
        rule = f"no rule decides; its policy is {policy}"
    why = f"Chain {chain_text(chain)} ({what.hook}, priority {chain.priority}): {rule}."
    if step.copies:
        copies = ", ".join(copy_text(copy) for copy in step.copies)
        why += f" A copy is sent to {copies}; it is not followed."
    return why


def _assumed(step: Step) -> str:
    what = _hook(step)
    takes = "to match" if what.action == "assume match" else "not to match"
    return (
        f"Whether {what.expression} in chain {chain_name(what.chain)} matches isn't known; this branch takes it "
        f"{takes}: {hit_text(what.chain, what.hit)}."
    )


def _chain_unknown(step: Step) -> str:
    what = _hook(step)
    return f"What chain {chain_name(what.chain)} does isn't known: {what.what}."


def _verdict(step: Step) -> str:
    what = _hook(step)
    return f"Chain {chain_name(what.chain)} gives the packet to something that is not modelled ({what.what})."


def _expression(step: Step) -> str:
    what = _hook(step)
    rule = hit_text(what.chain, what.hit)
    return f"Chain {chain_name(what.chain)} uses {what.expression}, which is not modelled: {rule}."


def _list(step: Step) -> str:
    """List the chain that the deciding rule stands in."""
    what = _hook(step)
    if what.chain is None:
        return "nft list ruleset"
    chain = what.chain.chain
    if what.hit is not None:
        chain = msgspec.structs.replace(chain, name=what.hit.within)
    return list_command(chain, legacy=what.chain.legacy)


def _list_legacy(step: Step) -> str:
    what = _hook(step)
    return f"{'ip6tables' if what.ipv6 else 'iptables'}-legacy -t {what.table} -L -v -n"


def _order(step: Step) -> str:
    what = _hook(step)
    comes = "first" if step.action == "assume legacy first" else "last"
    return (
        f"The legacy {what.table} table and chain {what.what} have the same priority in {what.hook}: the one that was "
        f"registered later comes first, and nothing tells which. This branch takes the legacy table to come {comes}."
    )


WHY: Templates = {
    **{(HookVerdict, name): _decided for name in NF_ACTIONS},
    (HookVerdict, "assume match"): _assumed,
    (HookVerdict, "assume no match"): _assumed,
    (
        HookVerdict,
        "legacy table",
    ): "The legacy {table} table is loaded here and its rules could not be read.",
    (HookVerdict, "verdict"): _verdict,
    (HookVerdict, "statement"): "{what} stands in a chain where it cannot work.",
    (HookVerdict, "expression"): _expression,
    (HookVerdict, "chain"): _chain_unknown,
    (HookVerdict, "device of fwd"): "The device that fwd names isn't known.",
    (HookVerdict, "missing device of fwd"): "The device that fwd names isn't known.",
    (
        HookVerdict,
        "neighbour of fwd",
    ): "The neighbour that fwd names isn't known, or the frame has its header already.",
    (HookVerdict, "hook order"): _order,
    (
        HookVerdict,
        "hooks of a VRF",
    ): "The host's own packets pass the netfilter hooks at {dev} too, which is not modelled.",
}

UNKNOWN: Templates = {
    (HookVerdict, "legacy table"): "legacy xtables table {table} not read",
    (HookVerdict, "verdict"): "verdict {what}",
    (HookVerdict, "statement"): "{what} outside a nat chain",
    (HookVerdict, "expression"): "nft {expression}",
    (HookVerdict, "chain"): lambda step: f"{chain_name(_hook(step).chain)}: {_hook(step).what}",
    (HookVerdict, "device of fwd"): "device of fwd",
    (HookVerdict, "missing device of fwd"): "missing device",
    (HookVerdict, "neighbour of fwd"): "neighbour of fwd",
    (HookVerdict, "hooks of a VRF"): "netfilter at a VRF",
}

ASSUMED: Templates = {
    (HookVerdict, "hook order"): "order of two hooks of one priority",
    (HookVerdict, "assume match"): "{expression}",
    (HookVerdict, "assume no match"): "{expression}",
}

COMMANDS: Templates = {
    (HookVerdict, "legacy table"): _list_legacy,
    (HookVerdict, "hook order"): "nft list hooks",
    (HookVerdict, ""): _list,
}
