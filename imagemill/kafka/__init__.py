"""Kafka clients: their configurations, the producer, topics, offsets in order, load."""
