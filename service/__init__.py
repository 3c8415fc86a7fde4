"""The gateway: one process serves every published model over HTTP and gRPC."""
