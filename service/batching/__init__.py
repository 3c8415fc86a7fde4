"""Dynamic batching of one version: queues, admission by deadline, batches and their cost."""
