"""What Calico's agent Felix writes on a node, in iptables mode: sets, chains for each device, profiles.

A packet of a pod passes the chain of its device (cali-fw-... from the pod, cali-tw-... to it), which the
profile of the pod's namespace accepts by a mark; devices find their chains over a dispatch chain for
each letter. Who claims another's address is dropped in table raw. What leaves the pools is masqueraded.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path

from lab import xtables

PREFIX = "cali"
ACCEPT, PASS, FROM_POD = "0x10000", "0x20000", "0x40000"
_OWN = ("cali-",)
_ACCEPTED = f"-m mark --mark {ACCEPT}/{ACCEPT}"


def device(namespace: str, pod: str) -> str:
    """Name the host end of a pod's veth pair."""
    return PREFIX + hashlib.sha1(f"{namespace}.{pod}".encode()).hexdigest()[:11]


def make_sets(netns: Path, family: int, pools: Sequence[str]) -> None:
    """Make the sets of the address pools: those that are masqueraded, and all."""
    version, inet = (60, "inet6") if family == 6 else (40, "inet")
    lines = []
    for name in (f"cali{version}masq-ipam-pools", f"cali{version}all-ipam-pools"):
        lines.append(f"create {name} hash:net family {inet} maxelem 1048576")
        lines += [f"add {name} {pool}" for pool in pools]
    xtables.run(netns, ["ipset", "restore"], "\n".join([*lines, ""]))


def hook_in(netns: Path, family: int) -> None:
    """Lead the kernel's chains to Felix's own, before anything else that is there."""
    tables = {
        "raw": ["PREROUTING", "OUTPUT"],
        "nat": ["PREROUTING", "OUTPUT", "POSTROUTING"],
        "filter": ["INPUT", "FORWARD", "OUTPUT"],
    }
    text = ""
    for table, hooks in tables.items():
        rules = [f"-I {hook} 1 {_noted(f'-j cali-{hook}')}" for hook in hooks]
        if table == "filter":
            note = '-m comment --comment "Policy explicitly accepted packet."'
            rules.append(f"-A FORWARD {_noted(f'{note} {_ACCEPTED} -j ACCEPT')}")
            rules.append(f"-A FORWARD {_noted(f'-j MARK --set-xmark {ACCEPT}/{ACCEPT}')}")
        text += xtables.table(table, [f"cali-{hook}" for hook in hooks], rules)
    xtables.restore(netns, family, text)


def write(netns: Path, family: int, namespaces: Mapping[str, str]) -> None:
    """Bring the chains up to date; `namespaces` maps each device to its pod's namespace."""
    for table, chains in (
        ("raw", _raw()),
        ("nat", _nat(family)),
        ("filter", _filter(namespaces)),
    ):
        noted = {chain: [_noted(rule, chain) for rule in rules] for chain, rules in chains.items()}
        xtables.sync(netns, family, table, noted, _OWN)


def _noted(rule: str, chain: str = "") -> str:
    """Begin a rule with the hash by which Felix knows it again."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(f"{chain} {rule}".encode()).digest())[:16].decode()
    return f'-m comment --comment "cali:{digest}" {rule}'


def _said(text: str) -> str:
    return f'-m comment --comment "{text}"'


def _raw() -> dict[str, list[str]]:
    from_pod = f"-m mark --mark {FROM_POD}/{FROM_POD}"
    return {
        "cali-PREROUTING": [
            "-j MARK --set-xmark 0x0/0xf0000",
            f"-i {PREFIX}+ -j MARK --set-xmark {FROM_POD}/{FROM_POD}",
            f"{from_pod} -j cali-rpf-skip",
            f"{from_pod} -m rpfilter --validmark --invert -j DROP",
            f"-m mark --mark 0x0/{FROM_POD} -j cali-from-host-endpoint",
            f"{_ACCEPTED} -j ACCEPT",
        ],
        "cali-rpf-skip": [],
        "cali-from-host-endpoint": [],
        "cali-OUTPUT": ["-j MARK --set-xmark 0x0/0xf0000", f"{_ACCEPTED} -j ACCEPT"],
    }


def _nat(family: int) -> dict[str, list[str]]:
    version = 60 if family == 6 else 40
    leaves = (
        f"-m set --match-set cali{version}masq-ipam-pools src "
        f"-m set ! --match-set cali{version}all-ipam-pools dst"
    )
    return {
        "cali-PREROUTING": ["-j cali-fip-dnat"],
        "cali-OUTPUT": ["-j cali-fip-dnat"],
        "cali-POSTROUTING": ["-j cali-fip-snat", "-j cali-nat-outgoing"],
        "cali-fip-dnat": [],
        "cali-fip-snat": [],
        "cali-nat-outgoing": [f"{leaves} -j MASQUERADE --random-fully"],
    }


def _filter(namespaces: Mapping[str, str]) -> dict[str, list[str]]:
    chains: dict[str, list[str]] = {
        "cali-INPUT": [
            f"-i {PREFIX}+ -g cali-wl-to-host",
            f"{_ACCEPTED} -j ACCEPT",
            "-j MARK --set-xmark 0x0/0xf0000",
            "-j cali-from-host-endpoint",
            f"{_said('Host endpoint policy accepted packet.')} {_ACCEPTED} -j ACCEPT",
        ],
        "cali-wl-to-host": [
            "-j cali-from-wl-dispatch",
            f"{_said('Configured DefaultEndpointToHostAction')} -j ACCEPT",
        ],
        "cali-FORWARD": [
            "-j MARK --set-xmark 0x0/0xe0000",
            f"-m mark --mark 0x0/{ACCEPT} -j cali-from-hep-forward",
            f"-i {PREFIX}+ -j cali-from-wl-dispatch",
            f"-o {PREFIX}+ -j cali-to-wl-dispatch",
            "-j cali-to-hep-forward",
            "-j cali-cidr-block",
        ],
        "cali-OUTPUT": [
            f"{_ACCEPTED} -j ACCEPT",
            f"-o {PREFIX}+ -j RETURN",
            "-j MARK --set-xmark 0x0/0xf0000",
            "-m conntrack ! --ctstate DNAT -j cali-to-host-endpoint",
            f"{_said('Host endpoint policy accepted packet.')} {_ACCEPTED} -j ACCEPT",
        ],
    }
    for empty in (
        "from-host-endpoint",
        "to-host-endpoint",
        "from-hep-forward",
        "to-hep-forward",
        "cidr-block",
    ):
        chains[f"cali-{empty}"] = []
    chains |= _dispatch("from", "-i", "fw", list(namespaces))
    chains |= _dispatch("to", "-o", "tw", list(namespaces))
    for namespace in dict.fromkeys(namespaces.values()):
        for way, direction in (("pri", "ingress"), ("pro", "egress")):
            accept = f"-j MARK --set-xmark {ACCEPT}/{ACCEPT}"
            note = _said(f"Profile kns.{namespace} {direction}")
            chains[f"cali-{way}-kns.{namespace}"] = [f"{note} {accept}"]
    for ifname, namespace in namespaces.items():
        chains[f"cali-tw-{ifname}"] = _workload(f"cali-pri-kns.{namespace}", [])
        tunnels = [
            f"{_said('Drop VXLAN encapped packets originating in workloads')} -p udp -m udp --dport 4789 -j DROP",
            f"{_said('Drop IPinIP encapped packets originating in workloads')} -p 4 -j DROP",
        ]
        chains[f"cali-fw-{ifname}"] = _workload(f"cali-pro-kns.{namespace}", tunnels)
    return chains


def _workload(profile: str, more: list[str]) -> list[str]:
    return [
        "-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
        "-m conntrack --ctstate INVALID -j DROP",
        f"-j MARK --set-xmark 0x0/{int(ACCEPT, 16) | int(PASS, 16):#x}",
        *more,
        f"-j {profile}",
        f"{_said('Return if profile accepted')} {_ACCEPTED} -j RETURN",
        f"{_said('Drop if no profiles matched')} -j DROP",
    ]


def _dispatch(way: str, option: str, kind: str, ifnames: list[str]) -> dict[str, list[str]]:
    """Lead each device to its chain; where several share their first letter, over one more chain."""
    root = f"cali-{way}-wl-dispatch"
    unknown = f"{_said('Unknown interface')} -j DROP"
    by_letter: dict[str, list[str]] = {}
    for ifname in sorted(ifnames):
        by_letter.setdefault(ifname[len(PREFIX)], []).append(ifname)
    chains: dict[str, list[str]] = {root: []}
    for letter, names in by_letter.items():
        direct = [f"{option} {name} -g cali-{kind}-{name}" for name in names]
        if len(names) == 1:
            chains[root] += direct
        else:
            chains[root].append(f"{option} {PREFIX}{letter}+ -g {root}-{letter}")
            chains[f"{root}-{letter}"] = [*direct, unknown]
    chains[root].append(unknown)
    return chains
