"""From a seed to the description of a random cluster. The same seed gives the same cluster, for ever."""

from __future__ import annotations

from collections.abc import Callable

from lab.randomnet import (
    ebtables,
    nft_frames,
    nft_nat,
    nftables,
    routing,
    settings,
    xt_services,
    xtables,
)
from lab.randomnet.model import Network
from lab.randomnet.plan import Plan
from lab.randomnet.probing import choose_probes
from lab.randomnet.topology import lay_out

Feature = Callable[[Plan], None]
FEATURES: tuple[Feature, ...] = (
    routing.routes,
    routing.rules,
    settings.sysctls,
    settings.listeners,
    settings.neighbours,
    settings.bridge_ports,
    settings.opaque,
    settings.faults,
    nftables.filters,
    nft_nat.translations,
    *nft_frames.FRAMES,
    xtables.filters,
    xtables.bridged,
    xtables.copies,
    xtables.proxies,
    ebtables.frames,
    xt_services.services,
    settings.hairpins,
    xt_services.established,
)


def generate(seed: int, packets: int = 24) -> Network:
    """Describe the network of a seed, with `packets` packets to send (a few less where they'd disturb others)."""
    plan = Plan(seed)
    lay_out(plan)
    for feature in FEATURES:
        feature(plan)
    choose_probes(plan, packets)
    return Network(seed, plan.places(), plan.items, plan.probes)
