"""What every protocol over HTTP shares: connections, bodies, compression, keys, errors."""
