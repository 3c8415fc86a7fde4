"""Models run in TensorFlow Serving, or in whatever speaks PredictionService: replicas, found and balanced."""
