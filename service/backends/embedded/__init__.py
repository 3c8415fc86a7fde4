"""Models run in this process: LiteRT for exports, TensorFlow for anybody's SavedModel."""
