"""API keys, rates, TLS, and the files of them that change while the service runs."""
