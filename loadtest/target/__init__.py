"""The server that is measured: one that is started here, or one that runs already."""
