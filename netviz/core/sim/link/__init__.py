"""Links and what stands on them: how a frame leaves by one and arrives at another."""
