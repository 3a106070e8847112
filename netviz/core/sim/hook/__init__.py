"""Netfilter: what is called where, in which order, and what becomes of the packet."""
