"""netfilter chains as text for the inspector.

A rule is shown as the traces show it (netviz.core.sim.nft.text). One that this cannot read is shown
as the kernel's expressions, one after the other: that is not nft's syntax and doesn't pretend to be.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from netviz.core.model.netfilter import (
    NFPROTO_NAMES,
    Body,
    ChainBody,
    NftChain,
    NftExpr,
    NftRuleBody,
)
from netviz.core.sim.counted import Count, has_counter
from netviz.core.sim.nft import text as nft_text
from netviz.core.sim.xtables.text_matches import Sets

INET_HOOKS = ("prerouting", "input", "forward", "output", "postrouting", "ingress")
NETDEV_HOOKS = ("ingress", "egress")
ARP_HOOKS = ("input", "output", "forward")
VERDICTS = {
    0: "drop",
    1: "accept",
    3: "queue",
    -1: "continue",
    -2: "break",
    -3: "jump",
    -4: "goto",
    -5: "return",
}
CMP_OPS = ("==", "!=", "<", "<=", ">", ">=")
MAX_RULES = 500


def chain_row(
    chain: NftChain,
    bodies: Mapping[bytes, Body],
    sets: Sets | None = None,
    *,
    legacy: bool = False,
    counts: Callable[[int, int], Count | None] | None = None,
) -> dict[str, Any]:
    """One chain with its rules; a body that isn't known yet is said to be missing.

    `legacy` chains are those of legacy xtables; `sets` the ipsets that rules name by their index; `counts` says what
    a rule had counted, by its number and handle. The row's `counts` has [packets, bytes] of each of `rules` with a counter of
    which that is known, and nothing where it is known of none.
    """
    based = chain.hook is not None
    body = bodies.get(chain.body)
    found = _counts(chain, body, counts, legacy)
    read = [one for one in found if one is not None]
    return {
        "family": NFPROTO_NAMES.get(chain.family, str(chain.family)),
        "table": chain.table,
        "chain": chain.name,
        "hook": hook_name(chain) if based else None,
        "priority": chain.priority if based else None,
        "policy": VERDICTS.get(chain.policy, str(chain.policy)) if based else None,
        "legacy": legacy,
        "rules": _rules(chain, body, sets, legacy),
        "counts": [one and [one.packets, one.bytes] for one in found] if read else [],
        "counted_at": read[0].at_s if read else None,
    }


def hook_name(chain: NftChain) -> str:
    """A base chain's hook by name."""
    family = NFPROTO_NAMES.get(chain.family)
    names = NETDEV_HOOKS if family == "netdev" else ARP_HOOKS if family == "arp" else INET_HOOKS
    hook = chain.hook or 0
    return names[hook] if hook < len(names) else str(hook)


def _counts(
    chain: NftChain, body: Body | None, counts: Callable[[int, int], Count | None] | None, legacy: bool
) -> list[Count | None]:
    if counts is None or not isinstance(body, ChainBody):
        return []
    handles = chain.handles or (0,) * len(body.rules)  # those of legacy xtables have none
    rules = zip(body.rules[:MAX_RULES], handles, strict=False)
    return [
        counts(number, handle) if has_counter(rule, legacy) else None
        for number, (rule, handle) in enumerate(rules)
    ]


def _rules(chain: NftChain, body: Body | None, sets: Sets | None, legacy: bool) -> list[str]:
    if not chain.body:
        return []
    if not isinstance(body, ChainBody):
        return [f"({len(chain.handles)} rules that have not arrived yet)"]
    texts = [rule_text(rule, chain.family, sets, legacy) for rule in body.rules[:MAX_RULES]]
    if len(body.rules) > MAX_RULES:
        texts.append(f"({len(body.rules) - MAX_RULES} more rules)")
    return texts


def rule_text(rule: NftRuleBody, family: int = 0, sets: Sets | None = None, legacy: bool = False) -> str:
    """One rule as people write it, else as its expressions."""
    text = nft_text.rule_text(rule, family, sets, legacy)
    return expressions_text(rule) if text in ("", nft_text.UNREADABLE_RULE) else text


def expressions_text(rule: NftRuleBody) -> str:
    """One rule: its expressions, and its comment."""
    text = "; ".join(expr_text(expr) for expr in rule.exprs) or "(nothing)"
    return f'{text}  # "{rule.comment}"' if rule.comment else text


def expr_text(expr: NftExpr) -> str:
    """One expression: its kernel name and its attributes."""
    attrs = dict(expr.attrs)
    if expr.name == "immediate" and isinstance(verdict := attrs.get("data"), Mapping) and "code" in verdict:
        return verdict_text(verdict)
    if expr.name == "cmp" and isinstance(attrs.get("op"), int) and 0 <= attrs["op"] < len(CMP_OPS):
        return f"cmp reg {attrs.get('sreg')} {CMP_OPS[attrs['op']]} {value_text(attrs.get('data'))}"
    words = [expr.name, *(f"{name} {value_text(value)}" for name, value in attrs.items())]
    return " ".join(words)


def verdict_text(verdict: Mapping[str, Any]) -> str:
    """A verdict with the chain that it leads to."""
    name = VERDICTS.get(verdict["code"], str(verdict["code"]))
    return f"{name} {verdict['chain']}" if verdict.get("chain") else name


def value_text(value: Any) -> str:
    """An attribute's value: data as hexadecimal, all else as it is."""
    if isinstance(value, bytes):
        return f"0x{value.hex()}" if value else "-"
    if isinstance(value, Mapping):
        if "code" in value:
            return verdict_text(value)
        return "(" + ", ".join(f"{name} {value_text(inner)}" for name, inner in value.items()) + ")"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(value_text(inner) for inner in value) + "]"
    return str(value)
