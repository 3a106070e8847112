"""Connection tracking and translation: the entry that a packet belongs to, and what it makes of its addresses."""
