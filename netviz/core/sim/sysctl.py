"""The settings that forwarding depends on: namespace-wide values and per-device ones combined as the kernel does.

Source: include/linux/inetdevice.h, IN_DEV_ANDCONF, IN_DEV_ORCONF, IN_DEV_MAXCONF (Linux 6.18).
"""

from __future__ import annotations

from netviz.core.model.link import Link
from netviz.core.state.node import NetnsState


def value(ns: NetnsState, name: str, default: int = 0) -> int:
    """Read a namespace-wide setting."""
    found = ns.sysctls.get(name)
    return found.value if found is not None else default


def conf_all(ns: NetnsState, field: str, family: int = 4) -> int:
    """Read net.ipvX.conf.all.FIELD."""
    return value(ns, f"net.ipv{family}.conf.all.{field}")


def ipv4_or(ns: NetnsState, link: Link, field: str) -> int:
    """Combine `all` and the device's own by OR."""
    own = getattr(link.ipv4, field) if link.ipv4 is not None else 0
    return int(bool(own) or bool(conf_all(ns, field)))


def ipv4_max(ns: NetnsState, link: Link, field: str) -> int:
    """Combine `all` and the device's own by the greater."""
    own = int(getattr(link.ipv4, field)) if link.ipv4 is not None else 0
    return max(own, conf_all(ns, field))
