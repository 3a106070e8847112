"""`make fuzz`: mutated frames, states and requests against everything that reads them."""
