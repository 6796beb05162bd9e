"""Webhook deliveries in the read model: their rows, made from attempts and dead letters."""
