"""The steps of background removal: mask, matting, cut-out."""
