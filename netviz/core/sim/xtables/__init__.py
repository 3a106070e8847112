"""xtables extensions (matches and targets), as nftables' compat expressions and legacy tables carry them."""
