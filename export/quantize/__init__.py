"""Smaller and faster forms of a model: built, calibrated, measured, and one of them chosen."""
