"""Function `webhook`: announces the end of a job to its client's URL."""
