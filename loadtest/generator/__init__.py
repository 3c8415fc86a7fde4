"""Makes load in a process of its own, and notes how late it was itself."""
