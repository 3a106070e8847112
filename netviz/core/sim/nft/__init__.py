"""nftables' rules, as the kernel evaluates them: registers, expressions, sets, text."""
