"""Logs, traces, metrics, and the context that ties them to a request."""
