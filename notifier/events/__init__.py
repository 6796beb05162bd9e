"""Events that are posted, and their bodies."""
