"""Secrets of webhook endpoints: made, checked, and encrypted for the topics."""
