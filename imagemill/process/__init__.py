"""Parts of every service process: logs, health port, garbage collector, secrets."""
