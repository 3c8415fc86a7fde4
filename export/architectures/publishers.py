"""Where the published top-1 and top-5 of a row can be looked up."""

from collections.abc import Mapping
from types import MappingProxyType

THE_PAPER = "the paper"

PUBLISHERS: Mapping[str, str] = MappingProxyType(
    {
        "Keras": "https://keras.io/api/applications",
        "torchvision": "https://docs.pytorch.org/vision/stable/models.html",
        "tensorflow/tpu": "https://github.com/tensorflow/tpu/tree/master/models/official/efficientnet/lite",
    }
)
"""`Architecture.measured_by` -> address; those of THE_PAPER are in the row's source."""
