"""The page on the architecture, drawn from the code: packages and imports, files, the way of one request."""
