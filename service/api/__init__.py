"""What clients speak: one folder a protocol, each with both of its edges, and what an edge needs."""
