"""What every protocol over gRPC shares: errors, health, limits of messages, the interceptor."""
