"""The staged files are held against the network, every signature, every engine."""
