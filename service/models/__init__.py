"""Loaded versions, what one must pass before it takes traffic, and one request on one of them."""
