"""The function `auth`: it issues access tokens, and starts a warm-up of the worker with each of them."""
