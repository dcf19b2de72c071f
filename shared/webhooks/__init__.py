"""Webhooks: events, deliveries, the payload, the URLs that may be called, and the signing secrets."""
