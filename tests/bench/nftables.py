"""kube-proxy's rules of the same 10,000 services in its nftables mode: collecting, loading, tracing.

A verdict map over address, protocol and port leads to a chain for each service, which chooses one of
its three endpoints' chains by `numgen random`; those translate. The rules are loaded by `nft` and collected,
and all is measured as in `netfilter`.
"""

from __future__ import annotations

from collections.abc import Iterable

from tests.bench.machine import Figure
from tests.bench.netfilter import POD_CIDR, SERVICES, endpoints, figures, service_address
from tests.live.nft_proxy import NftService, ruleset

SERVICE_CIDR = "10.96.0.0/12"


def run() -> Iterable[Figure]:
    """Measure."""
    services = [
        NftService(f"default/svc-{number}", service_address(number), 80, endpoints(number))
        for number in range(1, SERVICES + 1)
    ]
    rules = ruleset(services, ["192.0.2.1"], POD_CIDR, SERVICE_CIDR)
    return figures(rules, ["nft", "-f", "-"], "5 ms")
