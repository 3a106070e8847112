"""All pairs of pods, judged by symmetry with the simulator as the only judge (docs/adr/0034)."""
