"""Authentication: OAuth clients with their secrets, and access tokens."""
