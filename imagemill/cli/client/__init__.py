"""Commands that use a running imagemill over HTTP, or its result topic."""
