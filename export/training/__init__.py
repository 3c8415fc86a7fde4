"""Weights: from a file, from ImageNet, or trained here."""
