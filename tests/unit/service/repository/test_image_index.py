"""Training images beside a version: which are near, how near a class is, and what happens to a broken file."""

from pathlib import Path

import numpy as np
import pytest

from service.repository.image_index import IMAGE_INDEX, ImageIndex, normalize
from service.types import Neighbour

ROWS = np.array([[3, 0], [0, 2], [1, 1]], np.float32)
CLASSES = np.array([0, 2, 0], np.int32)
NAMES = ("a/1.jpg", "c/ä.jpg", "a/2.jpg")
INDEX = ImageIndex(normalize(ROWS), CLASSES, NAMES)


def test_the_nearest_come_first_whatever_the_length() -> None:
    half = float(np.sqrt(0.5))
    ((first, second), (third, _)) = INDEX.find_nearest(np.array([[0.1, 0], [0, 50]]), 2)
    assert (first, second.name) == (Neighbour("a/1.jpg", 0, 1.0), "a/2.jpg")
    assert second.similarity == pytest.approx(half) and third.name == "c/ä.jpg"
    assert len(INDEX.find_nearest(np.ones((1, 2)), 9)[0]) == 3


def test_familiarity_is_the_cosine_to_the_nearest_image() -> None:
    found = INDEX.measure_familiarity(np.array([[7, 7], [0, 3], [-1, 0]]))
    np.testing.assert_allclose(found, [1, 1, 0], atol=1e-6)


def test_a_row_of_zeros_is_like_nothing() -> None:
    assert INDEX.measure_familiarity(np.zeros((1, 2))).tolist() == [0]


def test_it_is_read_as_it_was_written(tmp_path: Path) -> None:
    assert ImageIndex.read(tmp_path) is None
    INDEX.write(tmp_path)
    read = ImageIndex.read(tmp_path)
    assert read is not None and read.names == NAMES and read.classes.tolist() == [0, 2, 0]
    np.testing.assert_array_equal(read.embeddings, INDEX.embeddings)


@pytest.mark.parametrize("content", [b"", b"no archive", b"PK\x03\x04 half of one"])
def test_a_broken_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / IMAGE_INDEX).parent.mkdir()
    (tmp_path / IMAGE_INDEX).write_bytes(content)
    with pytest.raises(ValueError, match=r"image_index\.npz cannot be read \(.*export the model again"):
        ImageIndex.read(tmp_path)


def test_arrays_that_do_not_fit_together_are_refused(tmp_path: Path) -> None:
    ImageIndex(INDEX.embeddings, CLASSES, NAMES[:2]).write(tmp_path)
    with pytest.raises(ValueError, match="3 embeddings for 2 names"):
        ImageIndex.read(tmp_path)
    ImageIndex(np.ones(3, np.float32), CLASSES, NAMES).write(tmp_path)
    with pytest.raises(ValueError, match=r"embeddings of shape \[3\]"):
        ImageIndex.read(tmp_path)
