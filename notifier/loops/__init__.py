"""Loops that read topics, and what they do with a message of each."""
