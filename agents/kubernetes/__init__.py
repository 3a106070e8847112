"""What a cluster's API says, listed and watched: `python -m agents kubernetes`."""
