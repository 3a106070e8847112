"""What is sent through a network: packets at what the items aimed at, and at anything else."""

from __future__ import annotations

from lab.randomnet.model import CLOSED_PORT, PORT, Probe
from lab.randomnet.plan import Plan, Target

FIRST_PORT = 20000
SIZES = (0, 0, 0, 0, 120, 700, 1400, 1450, 1472, 1500)
LARGE = 1300


def choose_probes(plan: Plan, count: int) -> None:
    """Add probes: nine in ten at targets where there are any, large packets last."""
    probes: list[Probe] = []
    targets = _in_turn(plan)
    for number in range(count):
        target = targets.pop() if targets and plan.chance(0.9) else _anything(plan)
        probes.append(_probe(plan, target, FIRST_PORT + number))
    # A packet that was too big teaches its sender a path MTU: only one a pair, after all others.
    seen: set[tuple[str, str]] = set()
    large = [probe for probe in probes if probe.size > LARGE]
    plan.probes = [probe for probe in probes if probe.size <= LARGE]
    for probe in large:
        if (probe.src, probe.dst) not in seen:
            seen.add((probe.src, probe.dst))
            plan.probes.append(probe)


def _in_turn(plan: Plan) -> list[Target]:
    """Order the targets so that each item's have their turn before another of the same comes."""
    order = list(plan.targets)
    plan.rng.shuffle(order)
    seen: dict[int, int] = {}
    turns = []
    for target in order:
        seen[target.item] = seen.get(target.item, 0) + 1
        turns.append((seen[target.item], target))
    return [target for _, target in sorted(turns, key=lambda turn: -turn[0])]


def _anything(plan: Plan) -> Target:
    v6 = plan.chance(0.3)
    if plan.chance(0.08):
        return Target(plan.nowhere(v6))
    return Target(plan.rng.choice(plan.addresses(v6)))


def _probe(plan: Plan, target: Target, sport: int) -> Probe:
    rng = plan.rng
    v6 = ":" in target.dst
    src = target.src or rng.choice(plan.senders())
    proto = target.proto or rng.choice(["tcp", "tcp", "udp", "icmp"])
    dport = 0 if proto == "icmp" else target.dport or rng.choice([PORT, PORT, PORT, CLOSED_PORT])
    size = rng.choice(SIZES) if proto != "tcp" else 0
    tos = target.tos or (rng.choice([0x10, 0x20, 0x08]) if plan.chance(0.1) else 0)
    mark = target.mark or (rng.choice([0x1, 0x10, 0x4000]) if plan.chance(0.1) else 0)
    bound = plan.chance(0.7) or bool(tos or mark or target.dev)  # who asks netviz names none of these
    return Probe(
        src,
        target.dst,
        proto,
        target.sport or sport,
        dport,
        plan.address_in(src, v6) if bound else "",
        size,
        plan.chance(0.3) if size > LARGE else False,
        target.ttl or rng.choice([64, 64, 64, 64, 64, 64, 1, 2, 3]),
        tos,
        mark,
        # A first packet that was too big would leave a path MTU behind, which is no part of the state.
        target.established and proto == "udp" and size <= LARGE,
        target.dev,
    )
