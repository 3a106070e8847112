"""Rules as netviz writes them, against what `nft list` says of the same rules."""

from __future__ import annotations

import re

import pytest

from agents.collectors.netfilter import Netfilter
from agents.collectors.ruleset import NFT_SECTIONS
from netviz.core.model.netfilter import SetBody
from netviz.core.sim.nft.text import rule_text
from tests.live.collector_rig import Namespace, namespaces

pytestmark = pytest.mark.live

INET = """
ip saddr 10.0.0.1 drop
ip daddr 10.0.0.0/24 accept
ip6 daddr fd00::/64 accept
ip saddr != 10.1.2.3 accept
tcp dport 80 accept
tcp dport != 81 drop
udp sport 1000-2000 accept
th dport 53 accept
meta l4proto tcp accept
meta l4proto ipv6-icmp accept
icmp type echo-request drop
icmpv6 type nd-neighbor-solicit accept
iifname "lo" oifname "br0" drop
meta mark 0x10 accept
ct state established,related accept
ct mark 0x5 drop
ct direction original accept
ct original ip saddr 10.0.0.1 drop
fib daddr type local drop
fib saddr . iif oif missing drop
ip ttl 64 drop
ip ttl set 33
tcp dport set 8080
tcp option maxseg exists drop
tcp option maxseg size set 1000
meta mark set 0x10
ct mark set meta mark
meta pkttype host accept
jump other
goto other
notrack
ip saddr . tcp dport @pairs drop
ip saddr != @named drop
ip saddr { 10.0.0.1, 10.0.0.2 } drop
tcp dport vmap { 80 : accept, 81 : drop }
meta mark set tcp dport map { 80 : 0x10, 81 : 0x20 }
ip daddr set ip saddr map { 10.0.0.1 : 10.0.0.2 }
ip daddr 10.0.0.1 tcp dport 80 accept
add @grown { ip saddr }
update @grown { ip saddr limit rate over 10/second }
ct count over 20 drop
socket wildcard 1 drop
log prefix "nv"
limit rate 10/second accept
quota over 100 bytes drop
meta nfproto ipv4 accept
dnat ip to 10.0.0.9
""".strip().splitlines()
SETS = """
set named { type ipv4_addr; }
set pairs { type ipv4_addr . inet_service; }
set grown { type ipv4_addr; flags dynamic; size 100; }
chain other {
}
"""
# nft pads marks to eight digits, lists counters' values, and says more of limits than what was written.
NORMAL = ((r"0x0+([0-9a-f])", r"0x\1"), (r" burst \d+ packets", ""), (r"[, ]*tcp option", " tcp option"))


def texts(ns: Namespace) -> list[str]:
    """Write the rules of chain `c`."""
    reading = Netfilter().collect(ns.handle, NFT_SECTIONS)
    bodies = {digest: body.decode() for digest, body in reading.bodies.items()}
    chain = next(one for one in reading.sections["nft_chains"] if one.name == "c")
    sets = {one.name: (bodies.get(one.body), one.data_type) for one in reading.sections["nft_sets"]}

    def elements(name: str) -> tuple[SetBody, int] | None:
        body, data_type = sets.get(name, (None, 0))
        return (body, data_type) if isinstance(body, SetBody) else None

    return [rule_text(rule, chain.family, elements=elements) for rule in bodies[chain.body].rules]


def listed(ns: Namespace) -> list[str]:
    """List the rules of chain `c` as nft does."""
    lines = ns.exec("nft", "list", "chain", "inet", "t", "c").splitlines()
    rules = [line.strip() for line in lines if line.startswith("\t\t") and "hook" not in line]
    for pattern, to in NORMAL:
        rules = [re.sub(pattern, to, rule) for rule in rules]
    return [rule.strip() for rule in rules]


def test_rules_are_written_as_nft_lists_them() -> None:
    with namespaces() as (ns,):
        ns.exec("ip", "link", "set", "lo", "up")
        table = f"table inet t {{\n{SETS}\nchain c {{\n" + "\n".join(INET) + "\n}\n}\n"
        ns.exec("nft", "-f", "-", input_text=table)
        written, said = texts(ns), listed(ns)
        assert [w for w in zip(written, said, strict=True) if w[0] != w[1]] == []
        assert len(written) == len(INET)
