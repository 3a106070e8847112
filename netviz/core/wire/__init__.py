"""What collector and server say to each other: messages, their encoding, and the session's rules."""
