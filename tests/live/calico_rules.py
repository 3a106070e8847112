"""Rulesets for tests as Calico's Felix writes them, in both of its modes, for two pods of a node.

One network policy selects web: only api may come in, by TCP to port 8080. What pods send is free.
"""

from __future__ import annotations

import msgspec

WEB, API = "cali0a1b2c3d4e5", "cali0a1b2c3d4e6"
ACCEPT, PASS, FROM_POD = 0x10000, 0x20000, 0x40000


class Pods(msgspec.Struct, frozen=True):
    """The addresses of the node's pods, the pool's prefix, and the nodes that tunnel."""

    web: str
    api: str
    pool: str
    nodes: tuple[str, ...]


def ipsets(pods: Pods) -> str:
    """Felix's ipsets, for `ipset restore`."""
    pools = [
        f"create cali40{n}-ipam-pools hash:net\nadd cali40{n}-ipam-pools {pods.pool}" for n in ("masq", "all")
    ]
    nodes = "\n".join(f"add cali40all-vxlan-net {node}" for node in pods.nodes)
    policy = f"create cali40s:from-api hash:net\nadd cali40s:from-api {pods.api}"
    return "\n".join([*pools, "create cali40all-vxlan-net hash:net", nodes, policy, ""])


def iptables(pods: Pods) -> str:
    """Felix's chains in iptables' tables, for iptables-restore."""
    return "\n".join([*_raw(), *_nat(), *_filter(), ""])


def _hash(number: int) -> str:
    return f'-m comment --comment "cali:rule{number:012d}"'


def _numbered(lines: list[str]) -> list[str]:
    """Give every rule its hash, and its words as a second comment."""
    made = []
    for number, line in enumerate(lines):
        rule, _, words = line.partition(" # ")
        head, dash, tail = rule.partition(" -j ") if " -j " in rule else rule.partition(" -g ")
        note = f' -m comment --comment "{words}"' if words else ""
        made.append(f"-A {head} {_hash(number)}{note}{dash}{tail}")
    return made


def _table(name: str, chains: list[str], lines: list[str]) -> list[str]:
    return [f"*{name}", *(f":{chain} - [0:0]" for chain in chains), *_numbered(lines), "COMMIT"]


def _raw() -> list[str]:
    own = "cali-PREROUTING"
    from_pod = f"-m mark --mark {FROM_POD:#x}/{FROM_POD:#x}"
    return _table("raw", [own, "cali-rpf-skip"], [
        f"PREROUTING -j {own}",
        f"{own} -j MARK --set-xmark 0x0/0xf0000",
        f"{own} -i cali+ -j MARK --set-xmark {FROM_POD:#x}/{FROM_POD:#x}",
        f"{own} {from_pod} -j cali-rpf-skip",
        f"{own} {from_pod} -m rpfilter --validmark --invert -j DROP",
    ])  # fmt: skip


def _nat() -> list[str]:
    sets = "-m set --match-set cali40masq-ipam-pools src -m set ! --match-set cali40all-ipam-pools dst"
    return _table("nat", ["cali-POSTROUTING", "cali-nat-outgoing"], [
        "POSTROUTING -j cali-POSTROUTING",
        "cali-POSTROUTING -j cali-nat-outgoing",
        f"cali-nat-outgoing {sets} -j MASQUERADE --random-fully",
    ])  # fmt: skip


def _filter() -> list[str]:
    accepted, passed = f"-m mark --mark {ACCEPT:#x}/{ACCEPT:#x}", f"-m mark --mark 0x0/{PASS:#x}"
    vxlan = "-p udp -m udp --dport 4789"
    lines = [
        "INPUT -j cali-INPUT",
        f"cali-INPUT {vxlan} -m set --match-set cali40all-vxlan-net src -m addrtype --dst-type LOCAL "
        "-j ACCEPT # Allow IPv4 VXLAN packets from allowed hosts",
        f"cali-INPUT {vxlan} -j DROP # Drop IPv4 VXLAN packets from non-allowed hosts",
        "cali-INPUT -i cali+ -g cali-wl-to-host",
        "cali-wl-to-host -j cali-from-wl-dispatch",
        "cali-wl-to-host -j ACCEPT # Configured DefaultEndpointToHostAction",
        "FORWARD -j cali-FORWARD",
        "cali-FORWARD -j MARK --set-xmark 0x0/0xe0000",
        "cali-FORWARD -i cali+ -j cali-from-wl-dispatch",
        "cali-FORWARD -o cali+ -j cali-to-wl-dispatch",
        f"FORWARD {accepted} -j ACCEPT # Policy explicitly accepted packet.",
    ]
    for device in (WEB, API):
        lines.append(f"cali-from-wl-dispatch -i {device} -g cali-fw-{device}")
        lines.append(f"cali-to-wl-dispatch -o {device} -g cali-tw-{device}")
        for way in ("fw", "tw"):
            own = f"cali-{way}-{device}"
            lines += [
                f"{own} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
                f"{own} -m conntrack --ctstate INVALID -j DROP",
                f"{own} -j MARK --set-xmark 0x0/{ACCEPT | PASS:#x}",
            ]
            if (way, device) == ("tw", WEB):
                lines += [
                    f"{own} -j MARK --set-xmark 0x0/{PASS:#x} # Start of tier default",
                    f"{own} {passed} -j cali-pi-_fromapi",
                    f"{own} {accepted} -j RETURN # Return if policy accepted",
                    f"{own} {passed} -j DROP # End of tier default. Drop if no policies passed packet",
                ]
            profile = "cali-pro-kns.default" if way == "fw" else "cali-pri-kns.default"
            lines += [
                f"{own} -j {profile}",
                f"{own} {accepted} -j RETURN # Return if profile accepted",
                f"{own} -j DROP # Drop if no profiles matched",
            ]
    lines += [
        "cali-from-wl-dispatch -j DROP # Unknown interface",
        "cali-to-wl-dispatch -j DROP # Unknown interface",
        "cali-pi-_fromapi -p tcp -m set --match-set cali40s:from-api src -m multiport --dports 8080 "
        f"-j MARK --set-xmark {ACCEPT:#x}/{ACCEPT:#x} # Policy default/knp.default.from-api ingress",
        f"cali-pi-_fromapi {accepted} -j RETURN",
        f"cali-pro-kns.default -j MARK --set-xmark {ACCEPT:#x}/{ACCEPT:#x} # Profile kns.default egress",
        f"cali-pri-kns.default -j MARK --set-xmark {ACCEPT:#x}/{ACCEPT:#x} # Profile kns.default ingress",
    ]
    chains = dict.fromkeys(line.split(" ")[0] for line in lines if line.startswith("cali-"))
    return _table("filter", list(chains), lines)


def _workload(device: str, way: str) -> str:
    accepted = f"mark and {ACCEPT:#x} == {ACCEPT:#x}"
    policy = [
        f'mark set mark and {0xFFFFFFFF ^ PASS:#x} comment "cali:w3; Start of tier default"',
        f'mark and {PASS:#x} == 0 jump filter-cali-pi-_fromapi comment "cali:w4"',
        f'{accepted} return comment "cali:w5; Return if policy accepted"',
        f'mark and {PASS:#x} == 0 drop comment "cali:w6; End of tier default. Drop if no policies passed packet"',
    ]
    profile = "filter-cali-pro-kns.default" if way == "fw" else "filter-cali-pri-kns.default"
    lines = [
        'ct state established,related accept comment "cali:w0"',
        'ct state invalid drop comment "cali:w1"',
        f'mark set mark and {0xFFFFFFFF ^ (ACCEPT | PASS):#x} comment "cali:w2"',
        *(policy if (way, device) == ("tw", WEB) else ()),
        f'jump {profile} comment "cali:w7"',
        f'{accepted} return comment "cali:w8; Return if profile accepted"',
        'drop comment "cali:w9; Drop if no profiles matched"',
    ]
    return f"chain filter-cali-{way}-{device} {{\n" + "\n".join(lines) + "\n}\n"


NFTABLES = """
table ip calico {{
set cali40masq-ipam-pools {{ type ipv4_addr; flags interval; elements = {{ {pool} }} }}
set cali40all-ipam-pools {{ type ipv4_addr; flags interval; elements = {{ {pool} }} }}
set cali40s-from-api {{ type ipv4_addr; flags interval; elements = {{ {api} }} }}
{workloads}
map cali-fw-dispatch {{ type ifname : verdict; elements = {{ {from_pods} }} }}
map cali-tw-dispatch {{ type ifname : verdict; elements = {{ {to_pods} }} }}
chain filter-cali-pi-_fromapi {{
  meta l4proto tcp ip saddr @cali40s-from-api tcp dport {{ 8080 }} mark set mark or {accept} comment "cali:p0; KubernetesNetworkPolicy default/from-api ingress"
  mark and {accept} == {accept} return comment "cali:p1"
}}
chain filter-cali-pro-kns.default {{
  mark set mark or {accept} comment "cali:q0; Profile kns.default egress"
}}
chain filter-cali-pri-kns.default {{
  mark set mark or {accept} comment "cali:q1; Profile kns.default ingress"
}}
chain filter-cali-from-wl-dispatch {{
  iifname vmap @cali-fw-dispatch comment "cali:d0"
  drop comment "cali:d1; Unknown interface"
}}
chain filter-cali-to-wl-dispatch {{
  oifname vmap @cali-tw-dispatch comment "cali:d2"
  drop comment "cali:d3; Unknown interface"
}}
chain filter-cali-FORWARD {{
  mark set mark and 0xfff1ffff comment "cali:f0"
  iifname "cali*" jump filter-cali-from-wl-dispatch comment "cali:f1"
  oifname "cali*" jump filter-cali-to-wl-dispatch comment "cali:f2"
}}
chain filter-FORWARD {{
  type filter hook forward priority filter; policy accept;
  jump filter-cali-FORWARD comment "cali:h0"
  mark and {accept} == {accept} accept comment "cali:h1; Policy explicitly accepted packet."
}}
chain nat-cali-nat-outgoing {{
  ip saddr @cali40masq-ipam-pools ip daddr != @cali40all-ipam-pools masquerade fully-random comment "cali:n0"
}}
chain nat-cali-POSTROUTING {{
  jump nat-cali-nat-outgoing comment "cali:n1"
}}
chain nat-POSTROUTING {{
  type nat hook postrouting priority srcnat; policy accept;
  jump nat-cali-POSTROUTING comment "cali:n2"
}}
}}
"""


def nftables(pods: Pods) -> str:
    """Felix's table in nftables mode."""
    by_way = {
        way: ", ".join(f'"{device}" : goto filter-cali-{way}-{device}' for device in (WEB, API))
        for way in ("fw", "tw")
    }
    return NFTABLES.format(
        pool=pods.pool,
        api=pods.api,
        accept=f"{ACCEPT:#x}",
        workloads="".join(_workload(device, way) for device in (WEB, API) for way in ("fw", "tw")),
        from_pods=by_way["fw"],
        to_pods=by_way["tw"],
    )
