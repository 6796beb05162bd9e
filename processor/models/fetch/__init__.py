"""Fetch model files: downloads, package registries, checksums, `imagemill models`."""
