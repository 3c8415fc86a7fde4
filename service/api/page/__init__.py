"""What a browser sees: the page at `/`, and what it shows of a version beside its answers."""
