"""HTTP in, job events out; reads answered from a projection of the log."""
