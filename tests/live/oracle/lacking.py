"""What the kernel of the tests lacks, and where it is tested instead: on state made by the kernel's source."""

from __future__ import annotations

from pathlib import Path

import msgspec

ROOT = Path(__file__).resolve().parents[3]


class Lacking(msgspec.Struct, frozen=True):
    """A feature, the test file, and the word by which the file's tests name it."""

    feature: str
    tests: str
    word: str


SIM = "tests/core/sim/"
LACKING = (
    Lacking("IPIP", SIM + "test_iptunnel.py", "ipip"),
    Lacking("SIT", SIM + "test_iptunnel.py", "sit"),
    Lacking("GRE, with and without keys", SIM + "test_iptunnel.py", "gre"),
    Lacking("GRE taps", SIM + "test_iptunnel.py", "gretap"),
    Lacking("IPv6 tunnels (ip6tnl, ip6gre)", SIM + "test_iptunnel.py", "ip6tnl"),
    Lacking("Geneve", SIM + "test_iptunnel.py", "geneve"),
    Lacking("WireGuard", SIM + "test_wireguard.py", "wireguard"),
    Lacking("WireGuard's generic netlink", "tests/agents/test_wireguard_constructed.py", "wireguard"),
    Lacking("VRF (l3mdev)", SIM + "test_vrf.py", "vrf"),
    Lacking("802.1Q devices", SIM + "test_vlan.py", "vlan"),
    Lacking("802.1Q within 802.1ad", SIM + "test_bridge_vlan.py", "qinq"),
    Lacking("bridge VLAN filtering", SIM + "test_bridge_vlan.py", "vlan_filtering"),
    Lacking("per-VLAN spanning tree state", SIM + "test_bridge_vlan.py", "vlan_state"),
    Lacking("ipvlan in modes l2, l3, l3s", SIM + "test_ipvlan.py", "ipvlan"),
    Lacking("bonds", SIM + "test_bond.py", "bond"),
    Lacking("dummy", SIM + "test_plain.py", "dummy"),
    Lacking("netkit in modes l2 and l3", SIM + "test_netkit.py", "netkit"),
    Lacking("IPVS", SIM + "test_ipvs.py", "ipvs"),
    Lacking("/proc/net/ip_vs and ip_vs_conn", "tests/agents/test_ipvs_parse.py", "ip_vs"),
    Lacking("netlink details of these kinds", "tests/agents/test_netlink_constructed.py", "constructed_kind"),
)


def markdown() -> list[str]:
    """Render the section for docs/accuracy.md."""
    return [
        "## Features that this kernel lacks",
        "",
        "They are tested on state that is constructed from the kernel's source.",
        "",
        "| feature | tests |",
        "|---|---|",
        *(f"| {entry.feature} | {entry.tests} |" for entry in LACKING),
        "",
    ]
