"""Frozen records of Linux networking: what a kernel says of itself, in its own nouns."""
