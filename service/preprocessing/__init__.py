"""From an encoded image to an array: what a file claims, what it may, its pixels."""
