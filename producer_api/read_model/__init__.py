"""The read model: jobs as the topics tell them, in a SQLite file that any restart can rebuild."""
