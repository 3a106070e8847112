"""The network layer: arrival, forwarding, delivery."""
