"""Other services' HTTP interfaces on imagemill's jobs, a module each; see docs of each there."""
