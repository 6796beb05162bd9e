"""The state table of jobs and the tracker, its only writer."""
