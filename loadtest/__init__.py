"""Measures what is served: load, latencies, capacity, and a report of them."""
