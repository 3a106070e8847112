"""The extensions of iptables, ip6tables and ebtables: what their payloads say, and how they read."""
