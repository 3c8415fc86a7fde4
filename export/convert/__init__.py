"""A trained network becomes one frozen graph, then a SavedModel and a LiteRT file."""
