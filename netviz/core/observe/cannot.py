"""What no source shows, anywhere: said with every observation."""

from __future__ import annotations

ALWAYS_UNSEEN = (
    "which rule of a bridge's or a device's chain decided, and policies of legacy xtables",
    "what rules and connection tracking do with the outer packet of other tunnels than VXLAN, Geneve, GRE and IP in IP",
    "the state of a connection, on kernels before 6.16",
)
