"""Generated messages and tensors: the only importer of TensorFlow's and Triton's message modules."""
