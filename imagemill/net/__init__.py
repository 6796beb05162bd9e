"""Outgoing requests to addresses that a user named, behind the URL guard."""
