"""Random clusters, described from a seed: what the oracle builds to compare predictions with the kernel."""
