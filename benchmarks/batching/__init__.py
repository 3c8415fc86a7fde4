"""The production batcher in virtual time, against TensorFlow Serving's policy and the best that anybody could do."""
