"""Model files: what is known of them, how they get here, and how they are run."""
