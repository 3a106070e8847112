"""Whether one policy is enforced, node by node: the check's own flows, of the pods that the policy selects.

A node enforces a policy for its own pods. What it denies there has to be refused by a policy's agent, what it allows has
to arrive as far as policies go; what something else ends says nothing of the policy.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Literal, NamedTuple

import msgspec

from netviz.core.check.netpol.check import Seen, flow_of
from netviz.core.check.netpol.flows import Try, ports_named, tries
from netviz.core.check.netpol.pods import Pod
from netviz.core.intent.policies import Policies
from netviz.core.intent.subjects import Policy
from netviz.core.sim.trace import Flow

MAX_SAID = 3


class Wrong(NamedTuple):
    """A flow that a kernel treats otherwise than the policy says."""

    one: Try
    kind: Literal["delivered", "refused"]


class Enforced(msgspec.Struct):
    """What was found on a node: how many flows that the policy denies were refused, what is wrong, and what is unknown."""

    refused: int = 0
    arrived: int = 0
    wrong: list[Wrong] = []
    unknown: dict[str, None] = {}

    @property
    def state(self) -> Literal["enforced", "differs", "unknown"]:
        """Enforced: something that it denies is refused, and nothing speaks against it."""
        if self.wrong:
            return "differs"
        return "enforced" if self.refused and not self.unknown else "unknown"

    @property
    def said(self) -> list[str]:
        """What differs, or isn't known, in a few words each."""
        if self.wrong:
            return [_wrong_text(one) for one in self.wrong[:MAX_SAID]]
        if self.unknown:
            return list(self.unknown)[:MAX_SAID]
        return [] if self.refused else ["it denies nothing that could be traced here"]


def tried(
    policies: Policies, policy: Policy, pods: list[Pod], selected: Iterable[Pod]
) -> Iterator[tuple[str, Try, Flow]]:
    """Yield the flows that show whether a policy is enforced, each with the node that has to do it."""
    mine = {one.pod.key for one in selected}
    for one in tries(policies, pods, ports_named((policy,), pods), mine):
        for end, half in ((one.target, one.decision.ingress), (one.source, one.decision.egress)):
            is_ours = end.pod.key in mine and policy.key in half.policies
            # What the other end's policies alone deny says nothing of this one.
            if is_ours and (half.allowed is False or one.decision.allowed):
                yield end.netns.node, one, flow_of(one)
                break


def judge(found: Enforced, node: str, one: Try, seen: Seen) -> None:
    """Add what became of a flow to what is known of a node."""
    if seen.what == "unknown":
        found.unknown[seen.rule] = None
    elif one.decision.allowed is False and seen.what == "arrives":
        found.wrong.append(Wrong(one, "delivered"))
    elif seen.what == "refused" and seen.node == node:
        if one.decision.allowed:
            found.wrong.append(Wrong(one, "refused"))
        else:
            found.refused += 1
    elif one.decision.allowed and seen.what == "arrives":
        found.arrived += 1


def _wrong_text(wrong: Wrong) -> str:
    one = wrong.one
    flow = f"{'/'.join(one.source.pod.key)} to {'/'.join(one.target.pod.key)} at {one.protocol} {one.port}"
    return f"{flow} is {'denied, and delivered' if wrong.kind == 'delivered' else 'allowed, and refused'}"
