"""Access to the API: who calls, and what that caller may do."""
