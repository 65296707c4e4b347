"""Bluesky plans: generators of messages, nothing more."""
