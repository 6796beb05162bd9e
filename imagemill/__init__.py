"""What the services share and what users import: client, settings, stores, Kafka clients."""

__version__ = "0.1.0"
