"""Tunnels: the outer packet, where it goes, and what comes out of it."""
