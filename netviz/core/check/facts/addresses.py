"""Whether each pod has an address of its own.

Nodes may repeat each other's addresses (every docker0 is 172.17.0.1): that is a problem only when a pod has the
address too. Namespaces that are no pod's are compared within their node only.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator

from netviz.core.check.claims import CLAIMS, Claim
from netviz.core.check.fact import Fact, Look, rests_on
from netviz.core.check.problem import Command, Problem
from netviz.core.check.text import affects, command, joined, place
from netviz.core.check.wiring import global_addr, who
from netviz.core.model.addr import format_ip
from netviz.core.plain import quoted
from netviz.core.sim.trace import pod_name

NEEDS = ("links", "addrs")
# While a pod ends and another begins, both may have the address for a moment.
GRACE_S = 3.0


def _count(look: Look) -> Iterator[Problem]:
    look.judged = sum(global_addr(addr) for pod in look.pods for addr in pod.addrs.values())
    return iter(())


def _guilty(held: list[tuple[str, tuple[Claim, ...]]]) -> list[Claim]:
    """The claims to one address that collide."""
    claims = [claim for _, mine in held for claim in mine]
    pods = any(claim.rank == "pod" for claim in claims)
    inside: dict[str, set[object]] = {}
    for claim in claims:
        if claim.rank in ("pod", "other"):
            inside.setdefault(claim.netns.key.node, set()).add(claim.netns.key)
    return [
        claim
        for claim in claims
        if claim.rank == "pod"
        or (pods and claim.rank in ("node", "service"))
        or (claim.rank == "other" and len(inside[claim.netns.key.node]) > 1)
    ]


def _judge(addr: Hashable, held: list[tuple[str, tuple[Claim, ...]]]) -> Iterator[Problem]:
    if len(held) == 1 and len(held[0][1]) == 1:
        return
    guilty = _guilty(held)
    if len({claim.netns.key for claim in guilty}) < 2:
        return
    assert isinstance(addr, bytes)
    text = format_ip(addr)
    culprit = next((claim for claim in guilty if claim.rank == "service"), guilty[-1])
    spaces = list({claim.netns.key: claim.netns for claim in guilty}.values())
    names = list(dict.fromkeys(map(who, spaces)))
    fix: tuple[Command, ...] = ()
    if culprit.rank == "service":
        remove = f"ip addr del {text}/{len(addr) * 8} dev {quoted(culprit.link.ifname)}"
        fix = (command(culprit.netns, remove),)
    yield Problem(
        kind="duplicate-address",
        cause=text,
        severity="error",
        harm="breaks traffic",
        headline=f"{joined(names)} {'both' if len(names) == 2 else 'all'} have the address {text}",
        consequence=f"What is sent to {text} arrives at the one or the other, and what the other is owed gets lost.",
        both="+".join(sorted(str(netns.key) for netns in spaces)),
        where=place(culprit.netns, culprit.link),
        also_at=tuple(place(one.netns, one.link) for one in guilty if one is not culprit),
        affects=affects(pod_name(claim.netns) for claim in guilty),
        check=tuple(command(netns, f"ip addr show to {text}") for netns in spaces),
        fix=fix,
        rests_on=rests_on((name for name, _ in held), NEEDS),
        grace_s=GRACE_S,
    )


FACT = Fact(
    name="addresses",
    demands="Every pod has an address that nobody else has.",
    unit="addresses",
    kinds=("duplicate-address",),
    needs=NEEDS,
    find=_count,
    table=CLAIMS,
    across=_judge,
)
