"""A network of somebody's own, published as it is: `python -m export --from FILE`."""
