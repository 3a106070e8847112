"""nftables rulesets: tables of ip, ip6 and inet with base chains at every hook.

A ruleset is one table of a node, a pod or the outside host with a base chain. Every rule stands in a chain of
its own that the base chain jumps to, so that a trace's evidence names it.
"""

from __future__ import annotations

from lab.randomnet.nft_actions import ACTION_HOOKS, ACTIONS
from lab.randomnet.nft_matches import HEADER_HOOKS, HEADER_MATCHES
from lab.randomnet.nft_rule import EVERYWHERE, RuleContext, Words
from lab.randomnet.nft_state_matches import STATE_HOOKS, STATE_MATCHES
from lab.randomnet.plan import Plan

# hook, type, priority.
_HOOKS = (
    ("prerouting", "filter", "raw"),
    ("prerouting", "filter", "mangle"),
    ("prerouting", "filter", "filter"),
    ("forward", "filter", "filter"),
    ("forward", "filter", "filter"),
    ("forward", "filter", "filter"),
    ("forward", "filter", "-10"),
    ("input", "filter", "filter"),
    ("output", "filter", "filter"),
    ("output", "route", "mangle"),
    ("postrouting", "filter", "mangle"),
)
MATCHES: dict[str, Words] = HEADER_MATCHES | STATE_MATCHES
HOOKS = HEADER_HOOKS | STATE_HOOKS


def _allowed(names: dict[str, Words], hooks: dict[str, frozenset[str]], hook: str) -> list[str]:
    return sorted(name for name in names if hook in hooks.get(name, EVERYWHERE))


class _Table:
    """A table in the making: its rules' chains, the jumps to them, and the features that they show."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.v6 = plan.chance(0.3)
        self.place = plan.rng.choice([*(node.name for node in plan.nodes)] * 4 + plan.senders())
        self.hook, self.kind, self.priority = plan.rng.choice(_HOOKS)
        self.name = f"nv{plan.unique()}"
        self.family = plan.rng.choice(["inet", "ip6" if self.v6 else "ip"])
        self.chains: list[str] = []
        self.jumps: list[str] = []
        self.declarations: list[str] = []
        self.features: list[tuple[str, str]] = []

    def add_rule(self) -> None:
        """Add a rule of one or two matches and an action."""
        c = RuleContext(self.plan, self.place, self.v6, self.hook)
        c.inet = self.family == "inet"
        name = f"c{self.plan.unique()}x"
        names = self._matches()
        words = " ".join(MATCHES[match](c) for match in names)
        action = self.plan.rng.choice(self._actions())
        does = ACTIONS[action](c)
        self.declarations += c.declarations
        self.chains.append(f"chain {name} {{\n{does}\n}}")
        self.jumps.append(f"{words} {self.plan.rng.choice(['jump', 'jump', 'goto'])} {name}")
        self.features += [(f"nft.{match}", name) for match in names] + [(f"nft-verdict.{action}", name)]
        for _ in range(2):
            self.plan.aim(c.dst, **{"src": self.plan.rng.choice(c.senders), **c.aim})
        self.plan.aim(c.dst, src=c.src_place)

    def _matches(self) -> list[str]:
        names = self.plan.rng.sample(_allowed(MATCHES, HOOKS, self.hook), self.plan.rng.choice([1, 1, 2]))
        if self.family != "inet" and "nfproto" in names:
            names = ["l4proto"]
        if self.family == "inet" and not any(n.endswith("addr") or "set" in n for n in names):
            names.insert(0, "nfproto")
        return list(dict.fromkeys(names))

    def _actions(self) -> list[str]:
        found = _allowed(ACTIONS, ACTION_HOOKS, self.hook)
        return [*found, "drop", "drop"]

    def text(self, policy: str) -> str:
        """Write the table for nft."""
        line = f"type {self.kind} hook {self.hook} priority {self.priority}; policy {policy};"
        base = [f"chain base{self.name} {{", line, *self.jumps, "}"]
        head = f"table {self.family} {self.name} {{"
        return "\n".join([head, *self.declarations, *self.chains, *base, "}"]) + "\n"


def filters(plan: Plan) -> None:
    """Add filter chains."""
    for _ in range(plan.rng.choice([0, 1, 1, 2, 2])):
        table = _Table(plan)
        for _ in range(plan.rng.choice([1, 2, 3])):
            table.add_rule()
        policy = plan.rng.choice(["accept", "accept", "accept", "accept", "drop"])
        base = f"base{table.name}"
        hook = f"nft-hook.{table.family}-{table.hook}"
        plan.add(hook, table.place, nft=table.text(policy), tokens=[base])
        if table.kind == "route":
            plan.add("nft-hook.route", table.place, tokens=[base])
        if policy == "drop":
            plan.add("nft-policy.drop", table.place, tokens=[f"{base} ({table.hook}"])
        for feature, name in table.features:
            plan.add(feature, table.place, tokens=[f"jump {name}", f"goto {name}"])
