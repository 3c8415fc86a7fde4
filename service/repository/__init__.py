"""Models on disk: version folders, manifests, checksums, staging."""
