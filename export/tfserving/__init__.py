"""TensorFlow Serving's configuration files, written from the exports."""
