"""The local Kafka broker: which kind this machine can have, its installation, its processes."""
