"""Kafka clients: configurations, the producer, topics, offsets to commit, load."""
