"""What the extensions of iptables, ip6tables and ebtables do with a packet (net/netfilter/nft_compat.c)."""
