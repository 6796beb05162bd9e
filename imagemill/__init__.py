"""Shared by the services: settings, stores, Kafka clients, image checks, the command line."""

__version__ = "0.1.0"
