"""Counts in messages."""

import pytest

from service.plurals import format_items


@pytest.mark.parametrize(
    ("count", "noun", "written"),
    [
        (0, "image", "0 images"),
        (1, "image", "1 image"),
        (2, "held-out image", "2 held-out images"),
        (1, "class", "1 class"),
        (1000, "class", "1,000 classes"),
    ],
)
def test_a_noun_has_the_number_of_its_count(count: int, noun: str, written: str) -> None:
    assert format_items(count, noun) == written
