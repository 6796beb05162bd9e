"""HTTP without jobs: routes and their documentation, bodies, queries, files, problems."""
