"""The state of nodes and clusters: immutable, compared by value, changed only through deltas."""
