"""The contract: events, job states and their transitions, operations, topics. Pure, no I/O."""
