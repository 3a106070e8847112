"""The checks of state: one module each, and this list of them.

To add one: a module with its `FACT`, its kinds in docs/problems.md, its test.
"""

from netviz.core.check.fact import Fact
from netviz.core.check.facts import (
    addresses,
    backends,
    bridge_netfilter,
    collectors,
    conntrack,
    conntrack_drops,
    counters,
    fdb,
    forwarding,
    hairpin,
    leftovers,
    macs,
    mtu,
    nat,
    neighbour_tables,
    neighbours,
    pod_links,
    policies,
    policy_routing,
    presence,
    programs,
    ranges,
    tunnels,
    wires,
)

FACTS: tuple[Fact, ...] = (
    collectors.FACT,
    addresses.FACT,
    ranges.FACT,
    macs.FACT,
    pod_links.FACT,
    wires.FACT,
    mtu.FACT,
    tunnels.FACT,
    forwarding.FACT,
    neighbours.FACT,
    fdb.FACT,
    leftovers.FACT,
    policy_routing.FACT,
    hairpin.FACT,
    bridge_netfilter.FACT,
    backends.FACT,
    programs.FACT,
    counters.FACT,
    nat.FACT,
    policies.FACT,
    conntrack.FACT,
    conntrack_drops.FACT,
    neighbour_tables.FACT,
    presence.FACT,
)
