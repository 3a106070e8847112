"""The simulator: what the kernel's tables say will happen to a packet."""
