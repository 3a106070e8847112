"""Observed packets laid beside predicted steps: frames, packet addresses, and how both are matched."""
