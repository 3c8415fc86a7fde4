"""How a dataset is divided: always the same, every image once, every class in its share."""

import numpy as np
import pytest

from export.data.partition import divide
from export.data.sources import digits


def test_parts_are_disjoint_whole_and_stratified() -> None:
    classes = digits().classes
    parts = divide(classes)
    assert sorted(parts.order) == list(range(1797))
    for part, share in ((parts.held_out, 0.2), (parts.validation, 0.08)):
        shares = np.bincount(classes[part]) / np.bincount(classes)
        assert (abs(shares - share) < 0.01).all()
    assert sorted(classes[parts.held_out[:10]]) == list(range(10)), "classes take turns"


@pytest.mark.parametrize(
    ("sizes", "validating"),
    [
        pytest.param((5, 5), 1, id="the least that a folder may have"),
        pytest.param((5,) * 10, 4, id="classes too small for one each share"),
        pytest.param((20, 20, 20), 5, id="sixty photographs"),
        pytest.param((5, 1000), 80, id="an unbalanced folder"),
        pytest.param((1000, 5), 80, id="the same, the other way round"),
    ],
)
def test_a_tenth_of_what_is_not_held_out_validates(sizes: tuple[int, ...], validating: int) -> None:
    classes = np.repeat(np.arange(len(sizes)), sizes).astype(np.int32)
    parts = divide(classes)
    assert len(parts.validation) == validating
    assert set(classes[parts.train]) == set(classes[parts.held_out]) == set(range(len(sizes)))
    assert sorted(parts.order) == list(range(len(classes)))
