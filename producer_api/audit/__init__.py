"""Records of who did what through the API."""
