"""`POST /predict/MODEL`: images in, labels and probabilities out."""
