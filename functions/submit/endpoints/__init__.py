"""The handlers of the routes. `functions.submit.routes` lists which route each of them serves."""
