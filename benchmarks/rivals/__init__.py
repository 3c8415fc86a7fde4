"""Other model servers around the same file of the same network, each as its own documentation writes it."""
