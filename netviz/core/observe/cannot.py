"""What no source shows, anywhere: said with every observation."""

from __future__ import annotations

ALWAYS_UNSEEN = (
    "routing lookups, translations and connections: no source here shows them",
    "chains of legacy xtables, of bridges and of devices: nftables' trace messages don't show them",
)
