"""The ports of an API: its own, with TLS if set, and that of health and metrics."""
