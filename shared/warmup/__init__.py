"""Warm-ups: the pings that start the worker's environments, and the record of the environments that they reached."""
