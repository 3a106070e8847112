"""Faults, one after another, in a whole netviz that is busy: `make chaos`. Figures: docs/reliability.md."""
