"""What the services share and what users import: client, settings, stores, Kafka clients."""
