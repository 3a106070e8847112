"""Who has an address: resolution, who answers, and what rules let through."""
