"""kube-proxy's rules of the same 10,000 services in its nftables mode: collecting, loading, tracing.

A verdict map over address, protocol and port leads to a chain for each service, which translates to one of
its three endpoints by a map over `numgen random`. The rules are loaded by `nft` and collected,
and all is measured as in `netfilter`.
"""

from __future__ import annotations

from collections.abc import Iterable

from lab.kubernetes import proxy_nftables
from tests.bench.machine import Figure
from tests.bench.netfilter import NODE, POD_CIDR, figures, services

SERVICE_CIDR = "10.96.0.0/12"


def run() -> Iterable[Figure]:
    """Measure."""
    rules = proxy_nftables.table("bench", NODE, POD_CIDR, SERVICE_CIDR, services(), "ip")
    return figures(rules, ["nft", "-f", "-"], "3.1 ms (p50)")
