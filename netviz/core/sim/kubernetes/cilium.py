"""Cilium: its devices by name. What it does stands in eBPF programs, which are opaque steps of their own."""

from __future__ import annotations

from netviz.core.sim.kubernetes.seen import Seen

_DEVICES = {
    "cilium_host": ("veth", "Cilium's device of the node itself"),
    "cilium_net": ("veth", "the other end of cilium_host, Cilium's device of the node itself"),
    "cilium_vxlan": ("vxlan", "Cilium's VXLAN device"),
    "cilium_geneve": ("geneve", "Cilium's Geneve device"),
    "cilium_wg0": ("wireguard", "Cilium's WireGuard device"),
    "lxc_health": ("veth", "Cilium's device of its health endpoint"),
}

DEVICE_NAMES = ("cilium_", "lxc")


def device(seen: Seen) -> str:
    """Say what Cilium's device is, or ""."""
    link = seen.link
    if link is None:
        return ""
    kind, phrase = _DEVICES.get(link.ifname, ("", ""))
    if phrase and link.kind == kind:
        return phrase
    if not link.ifname.startswith("lxc") or link.kind not in ("veth", "netkit"):
        return ""
    hosts = any(other.ifname == "cilium_host" for other in seen.ns.links.values())
    pod = seen.pod_behind(link.ifname)
    return f"Cilium's device that leads to {pod or 'a pod'}" if hosts else ""
