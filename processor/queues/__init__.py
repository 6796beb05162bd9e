"""Queues of admitted messages, by priority and by due time; and the list of cancelled jobs."""
