"""Models: the manifest, the store of files, loading, and running them."""
