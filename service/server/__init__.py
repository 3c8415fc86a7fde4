"""The process from start to drain: composition root, lifecycle, workers and their supervisor."""
