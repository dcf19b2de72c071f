"""Function `auth`: authenticates clients, mints tokens and thereby warms the worker."""
