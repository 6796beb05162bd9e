"""Params models, one module an operation."""
