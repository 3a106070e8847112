"""flannel: devices flannel.N, chains FLANNEL-POSTRTG and FLANNEL-FWD, tables flannel-ipv4 and flannel-ipv6."""

from __future__ import annotations

import re

from netviz.core.model.link import VxlanInfo
from netviz.core.sim.kubernetes.seen import Seen

_DEVICE = re.compile(r"^flannel(-v6)?\.(\d+)$")
DEVICE_NAMES = ("flannel",)
_TABLES = ("flannel-ipv4", "flannel-ipv6")
_CHAINS = ("FLANNEL-POSTRTG", "FLANNEL-FWD", "postrtg", "forward")


def rules(seen: Seen) -> str:
    """Say what flannel's rules that matched mean, or ""."""
    native = seen.table[1] in _TABLES
    own = [
        rule for rule in seen.rules if rule.chain in _CHAINS and (native or rule.chain.startswith("FLANNEL-"))
    ]
    if not own:
        return ""
    last = own[-1]
    text = last.text.lower()
    if last.chain in ("FLANNEL-POSTRTG", "postrtg"):
        if "return" in text:
            return "flannel's rule that leaves traffic between pods, and service traffic, as it is"
        if "masquerade" in text and last is seen.deciding:
            return "flannel's masquerading of what enters or leaves the pod network"
        return ""
    return "flannel's rule that lets pods' traffic be forwarded" if "accept" in text else ""


def device(seen: Seen) -> str:
    """Say what flannel's device is, or ""."""
    link = seen.link
    found = _DEVICE.match(seen.step.dev)
    if link is None or found is None:
        if link is not None and link.kind == "wireguard" and link.ifname in ("flannel-wg", "flannel-wg-v6"):
            return "flannel's WireGuard device"
        if link is not None and link.kind == "ipip" and link.ifname == "flannel.ipip":
            return "flannel's IPIP device"
        return ""
    if link.kind != "vxlan" or not isinstance(link.info, VxlanInfo) or link.info.vni != int(found[2]):
        return ""
    return f"flannel's VXLAN device (VNI {found[2]})"
