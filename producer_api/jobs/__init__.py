"""Jobs as the API handles them: submit, cancel, remove, and the lag of the processors."""
