"""Image files: which they are, whether they are whole, and how large, without decoding a pixel."""
