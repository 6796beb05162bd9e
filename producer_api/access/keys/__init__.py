"""API keys: their secrets, the ring of those that are known, and changes of them."""
