"""The steps of background removal: mask, edge, cut-out."""
