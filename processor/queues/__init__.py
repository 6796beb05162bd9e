"""Where admitted messages wait: priority queue, retry queue; and the list of cancelled jobs."""
