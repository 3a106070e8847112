"""What `make bench` measures. Timings are printed and recorded, and never fail a test."""
