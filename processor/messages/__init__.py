"""Messages in and out: admission by offset, publishing, acks by delivery, dead letters, control."""
