"""Delivers the events of jobs as signed webhooks."""
