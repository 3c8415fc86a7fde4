"""CLIP: networks of two encoders, for images and for texts, that answer with labels nobody trained them for."""
