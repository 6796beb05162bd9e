"""HTTP interfaces of other services, a module each: their clients run on imagemill's jobs."""
