"""What a trace comes to in one sentence: cause and place first, in at most 20 words."""
