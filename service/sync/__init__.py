"""Moves whole versions between export jobs, buckets and nodes."""
