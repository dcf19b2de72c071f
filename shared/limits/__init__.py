"""Limits of one client: the settings, and the counters that enforce them."""
