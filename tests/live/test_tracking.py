"""Which rules make the kernel track connections, of IPv4 and IPv6: each alone in a namespace, and what is predicted."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lab import netns
from lab.randomnet.model import Item, Network, Place
from netviz.core.sim.nft.tracking import tracks_connections
from netviz.core.sim.run import Run
from netviz.core.sim.trace import Flow
from tests.live.oracle.build import built
from tests.live.oracle.collect import collect_now

pytestmark = pytest.mark.live

NODE = "n1"
FILTER, NAT = "type filter hook output priority 0", "type nat hook output priority -100"
RULES = {
    "nothing": "",
    "nft: an empty nat chain": f"table inet t {{\nchain c {{\n{NAT}\n}}\n}}",
    "nft: dnat of ip": f"table ip t {{\nchain c {{\n{NAT}\ntcp dport 1 dnat to 192.0.2.1\n}}\n}}",
    "nft: dnat of ip in inet": f"table inet t {{\nchain c {{\n{NAT}\ntcp dport 1 dnat ip to 192.0.2.1\n}}\n}}",
    "nft: dnat to a port in inet": f"table inet t {{\nchain c {{\n{NAT}\ntcp dport 1 dnat to :2\n}}\n}}",
    "nft: redirect in inet": f"table inet t {{\nchain c {{\n{NAT}\ntcp dport 1 redirect\n}}\n}}",
    "nft: ct state of inet": f"table inet t {{\nchain c {{\n{FILTER}\nct state new counter\n}}\n}}",
    "nft: a chain that nothing calls": "table ip6 t {\nchain c {\nct state new counter\n}\n}",
    "nft: notrack": f"table ip t {{\nchain c {{\n{FILTER}\nnotrack\n}}\n}}",
    "nft: ct mark set": f"table ip t {{\nchain c {{\n{FILTER}\nct mark set 1\n}}\n}}",
    "nft: ct count": f"table ip t {{\nchain c {{\n{FILTER}\nct count over 3 drop\n}}\n}}",
    "nft: a named counter": f"table ip t {{\ncounter x {{ }}\nchain c {{\n{FILTER}\ncounter name x\n}}\n}}",
    "nft: ct timeout": "table ip t {\nct timeout x {\nprotocol tcp\npolicy = { established : 100 }\n}\n"
    f'chain c {{\n{FILTER}\ntcp dport 1 ct timeout set "x"\n}}\n}}',
    "nft: socket": "table ip t {\nchain c {\ntype filter hook prerouting priority 0\nsocket transparent 1\n}\n}",
    "nat: -A OUTPUT -j RETURN": "",
    "nat: -A OUTPUT -p tcp -j REDIRECT": "",
    "nat: -A POSTROUTING -p tcp -j MASQUERADE": "",
    "nat: -A PREROUTING -j NETMAP --to 192.0.2.0/24": "",
    "raw: -A OUTPUT -j CT --notrack": "",
    "raw: -A OUTPUT -p tcp -j CT --zone 3": "",
    "filter: -A OUTPUT -m state --state NEW": "",
    "filter: -A OUTPUT -m helper --helper ftp": "",
    "filter: -A OUTPUT -m connbytes --connbytes 1 --connbytes-dir both --connbytes-mode bytes": "",
    "filter: -A OUTPUT -m connlimit --connlimit-above 3 -j DROP": "",
    "filter: -A OUTPUT -m connlabel --label 1": "",
    "filter: -A OUTPUT -m cluster --cluster-total-nodes 2 --cluster-local-node 1 --cluster-hash-seed 1": "",
    "filter: -A OUTPUT -m physdev --physdev-is-bridged": "",
    "mangle: -A OUTPUT -p tcp -j CONNMARK --set-mark 1": "",
    "mangle: -A OUTPUT -j HMARK --hmark-tuple ct,src --hmark-mod 2 --hmark-offset 1 --hmark-rnd 1": "",
    "mangle: -A PREROUTING -m socket -j ACCEPT": "",
    "mangle: -A PREROUTING -p tcp -j TPROXY --on-port 9 --tproxy-mark 1": "",
}


PROGRAMS = ("iptables-nft-restore", "iptables-legacy-restore", "ip6tables-nft-restore")


def _cases() -> Iterator[tuple[str, list[Item]]]:
    for name, ruleset in RULES.items():
        table, _, rule = name.partition(": ")
        if ruleset or name == "nothing":
            yield name, [Item("rules", NODE, nft=ruleset)]
            continue
        for program in PROGRAMS:
            if not (program.startswith("ip6") and "192.0.2" in rule):
                yield (
                    f"{program} {name}",
                    [Item("rules", NODE, xtables={program: f"*{table}\n{rule}\nCOMMIT\n"})],
                )


CASES = dict(_cases())


def _send(path: Path) -> None:
    """Send a datagram of each family over the loopback."""
    for family, addr in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
        with netns.open_socket(path, family, socket.SOCK_DGRAM, 0) as sock:
            sock.sendto(b"x", (addr, 9))


def _tracked(path: Path, family: str) -> bool:
    with netns.entered_path(path):
        listed = subprocess.run(
            ["/usr/sbin/conntrack", "-L", "-f", family], check=True, capture_output=True, text=True
        )
    return bool(listed.stdout)


@pytest.mark.parametrize("name", CASES)
def test_what_is_tracked_is_predicted(name: str) -> None:
    loopback = Item("loopback", NODE, ip4=["link set lo up"])
    with built(Network(0, [Place(NODE, "node", NODE)], [loopback, *CASES[name]], [])) as up:
        assert not up.refused
        path = up.paths[NODE]
        _send(path)
        state = collect_now(up)
        (ns,) = (ns for ns in state.nodes[NODE].netns.values() if ns.netns.root)
        run = Run(state, Flow(ns.key, bytes(4), bytes(4), 17))
        predicted = tracks_connections(run, ns, False), tracks_connections(run, ns, True)
        assert predicted == (_tracked(path, "ipv4"), _tracked(path, "ipv6"))
