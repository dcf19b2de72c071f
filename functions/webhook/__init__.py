"""The function `webhook`: it delivers webhook events to the URLs of clients."""
