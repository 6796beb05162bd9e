"""Delivers terminal events as signed webhooks."""
