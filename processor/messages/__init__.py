"""Messages in and out: admission and acks in offset order, publishing, dead letters."""
