"""The oracle: random networks on the real kernel, and whether predictions agree with what it does."""
