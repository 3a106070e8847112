"""The reference CNI plugins: bridge and ptp (ipMasq), portmap, firewall, bandwidth.

bridge and ptp masquerade in a chain CNI-HASH for each container, portmap translates in CNI-DN-HASH, and
the rules that lead there name the network in a comment (name: "NETWORK" id: "CONTAINER"); their
nftables backends have the tables cni_plugins_masquerade and cni_hostport. firewall lets through what
stands in CNI-FORWARD. bandwidth shapes what a container sends by an ifb named bwpHASH.
"""

from __future__ import annotations

import re

from netviz.core.sim.kubernetes.seen import Seen, SeenRule

_MASQ_CHAIN = re.compile(r"^CNI-[0-9a-f]{24}$")
_NETWORK = re.compile(r'name: \\?"(?P<xt>[^"\\]+)\\?"|net: (?P<nft>[^,]+),')
_DNAT = re.compile(r"(?:--to-destination|dnat (?:ip6? )?to) (\S+)")
# A rule without extensions is written as nft does, whoever made it.
_ADDRESS = re.compile(r"(?P<way>-[sd]|[sd]addr) (?P<addr>[0-9a-f.:]+)(?:/(?:32|128))?(?: |$)")
_IFB = re.compile(r"^bwp[0-9a-f]{12}$")
DEVICE_NAMES = ("cni0", "bwp")
HOSTPORTS, MASQUERADES = "cni_hostport", "cni_plugins_masquerade"


def rules(seen: Seen) -> str:
    """Say what the plugins' rules that matched mean, or ""."""
    last = seen.rules[-1] if seen.rules else None
    if last is None:
        return ""
    if last.chain.startswith("CNI-DN-") or (seen.table[1] == HOSTPORTS and "hostports" in last.chain):
        return _host_port(seen, last)
    if last.chain == "CNI-HOSTPORT-MASQ" or (seen.table[1] == HOSTPORTS and last.chain == "masquerading"):
        return "the CNI portmap plugin's masquerading of host port traffic"
    if _MASQ_CHAIN.match(last.chain) or (seen.table[1] == MASQUERADES and last.chain == "masq_checks"):
        return _masquerade(seen, last)
    if last.chain in ("CNI-FORWARD", "CNI-ADMIN") and last is seen.deciding:
        return _firewall(seen, last)
    return ""


def _network(seen: Seen) -> str:
    """Name the network by a rule's comment, as ` of network "NAME"`, or ""."""
    for rule in reversed(seen.rules):
        for comment in rule.comments:
            found = _NETWORK.search(comment)
            if found is not None:
                return f' of network "{found["xt"] or found["nft"]}"'
    return ""


def _host_port(seen: Seen, rule: SeenRule) -> str:
    dnat = _DNAT.search(rule.text)
    if dnat is None or rule is not seen.deciding:
        return ""
    packet = seen.step.packet
    return f"host port {packet.dport} (CNI portmap plugin){_network(seen)}, {seen.endpoint(dnat[1])}"


def _masquerade(seen: Seen, rule: SeenRule) -> str:
    if "masquerade" in rule.text.lower():
        return f"the CNI plugin's masquerading{_network(seen)} (ipMasq)"
    if "accept" in rule.text.lower():
        return (
            f"the CNI plugin's rule that leaves traffic inside the subnet{_network(seen)} as it is (ipMasq)"
        )
    return ""


def _firewall(seen: Seen, rule: SeenRule) -> str:
    if rule.chain == "CNI-ADMIN":
        return "the administrator's own rule for the CNI firewall plugin"
    if "accept" not in rule.text.lower():
        return ""
    found = _ADDRESS.search(rule.text)
    owner = seen.owner_of(found["addr"]) if found is not None else ""
    container = f" {owner}" if owner else " a container"
    way = "from" if found is not None and found["way"] in ("-s", "saddr") else "to"
    return f"the CNI firewall plugin's rule that lets traffic {way}{container} be forwarded"


def device(seen: Seen) -> str:
    """Say what a plugin's device is, or ""."""
    link = seen.link
    if link is None:
        return ""
    if link.ifname == "cni0" and link.kind == "bridge":
        return "the bridge of the CNI bridge plugin or flannel"
    if _IFB.match(link.ifname) and link.kind == "ifb":
        return "by what the CNI bandwidth plugin shapes a container's sending"
    if seen.step.kind == "opaque" and "ingress" in link.tc and link.kind == "veth":
        links = seen.ns.links.values()
        shaped = [other for other in links if other.kind == "veth" and "ingress" in other.tc]
        ifbs = [other for other in links if other.kind == "ifb" and _IFB.match(other.ifname)]
        if len(shaped) == len(ifbs):
            return "shaped by the CNI bandwidth plugin, which leads what comes in by it through an ifb"
    return ""
