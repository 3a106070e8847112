"""Decisions of netfilter's chains: the rule that decided, those that matched before it, and copies that rules send."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

import msgspec

from netviz.core.model.netfilter import Body, ChainBody, NftChain, NftRuleBody
from netviz.core.sim.steps.base import Decision
from netviz.core.state.node import NetnsState


class ChainRef(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A base chain, or another that the packet is in, with what its rules' text needs: its namespace and the bodies."""

    chain: NftChain
    ns: NetnsState
    bodies: Mapping[bytes, Body]
    legacy: bool = False


class RuleHit(msgspec.Struct, frozen=True, eq=False, gc=False):
    """A rule that matched: that with this number in a chain's rules `of`; the chain's name is `within`."""

    within: str
    of: ChainBody
    number: int
    handle: int = 0

    @property
    def body(self) -> NftRuleBody:
        """The rule."""
        return self.of.rules[self.number]


# A chain's verdict, or the statement that ended it.
NfAction = Literal[
    "accept",
    "drop",
    "reject",
    "queue",
    "stolen",
    "continue",
    "break",
    "return",
    "fwd",
    "nat",
    "masq",
    "redir",
    "unknown",
]
NF_ACTIONS: dict[str, NfAction] = {name: name for name in get_args(NfAction)}


class HookVerdict(Decision, frozen=True, tag="hook", eq=False):
    """What a base chain came to: by the rule `hit`, or by its policy.

    `hook` is the hook's name. `translates`: it is a nat rule's. `called_by` is the setting by which a bridge passes its
    packets through the IP hooks. `expression` is what a rule has that isn't known, `what` names it otherwise.
    """

    action: NfAction | Literal["assume match", "assume no match", "assume legacy first", "assume legacy last"]
    cause: Literal[
        "",
        "legacy table",
        "verdict",
        "statement",
        "expression",
        "chain",
        "device of fwd",
        "missing device of fwd",
        "neighbour of fwd",
        "hooks of a VRF",
        "hook order",
        "section not read",
    ] = ""
    chain: ChainRef | None = None
    hook: str = ""
    hit: RuleHit | None = None
    matched: tuple[RuleHit, ...] = ()
    translates: bool = False
    called_by: str = ""
    expression: str = ""
    what: str = ""
    table: str = ""
    ipv6: bool = False

    @property
    def kind(self) -> str:
        """A nat rule's decision is a step of its own kind."""
        return "nat" if self.translates else "netfilter"
