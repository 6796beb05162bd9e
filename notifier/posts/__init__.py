"""Posts of deliveries: limits, signatures, attempts, and what follows them."""
