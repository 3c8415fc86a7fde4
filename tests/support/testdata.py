"""TensorFlow Serving's own small test models, where they are at hand: tests that need them skip without."""

import os
import shutil
from pathlib import Path

import pytest

_BESIDE_THE_CHECKOUT = Path(__file__).parents[3] / "shared" / "testdata" / "tfserving"
_FOLDER = Path(os.environ.get("TFSERVING_TESTDATA", _BESIDE_THE_CHECKOUT))

TESTDATA: Path | None = _FOLDER if _FOLDER.is_dir() else None

needs_testdata = pytest.mark.skipif(
    TESTDATA is None, reason="TensorFlow Serving's test models are not here; name their folder in TFSERVING_TESTDATA"
)


def with_half_plus_two(lenet5_repository: Path, folder: Path) -> Path:
    """`folder` as a repository of a real model and, where the test models are here, anybody's SavedModel."""
    shutil.copytree(lenet5_repository / "lenet5", folder / "lenet5")
    if TESTDATA is not None:
        shutil.copytree(TESTDATA / "saved_model_half_plus_two_cpu", folder / "half_plus_two")
    return folder
