"""The network layer: arrival, forwarding, delivery, connections and their translation."""
