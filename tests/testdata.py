"""TensorFlow Serving's own small test models, where they are at hand: tests that need them skip without."""

import os
from pathlib import Path

import pytest

_BESIDE_THE_CHECKOUT = Path(__file__).parents[2] / "shared" / "testdata" / "tfserving"
_FOLDER = Path(os.environ.get("TFSERVING_TESTDATA", _BESIDE_THE_CHECKOUT))

TESTDATA: Path | None = _FOLDER if _FOLDER.is_dir() else None

needs_testdata = pytest.mark.skipif(
    TESTDATA is None, reason="TensorFlow Serving's test models are not here; name their folder in TFSERVING_TESTDATA"
)
