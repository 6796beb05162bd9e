"""The steps of transform."""
