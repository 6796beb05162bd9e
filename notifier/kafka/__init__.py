"""The notifier's Kafka clients: what it reads, and the records that it writes."""
