"""Function `janitor`: looks once a minute at whatever is due."""
