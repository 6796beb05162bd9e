"""The contract of all services: events, job states, operations, topics; pure, without I/O.

docs/glossary.md explains the words that are imagemill's own.
"""
