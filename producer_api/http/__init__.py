"""HTTP as such: routes and their documentation, bodies, queries, answers, errors."""
