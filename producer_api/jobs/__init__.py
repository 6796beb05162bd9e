"""The life of a job as the API decides it: submit, cancel, remove."""
