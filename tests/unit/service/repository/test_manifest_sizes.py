"""Sizes in a manifest that no image can have are refused when it is read, not request by request."""

from typing import Any

import pytest

from service.repository.manifest import Preprocessing


@pytest.mark.parametrize("side", [0, -5, "x", 28.5, None, True, 10_000_000])
def test_what_is_no_size_is_refused(side: Any) -> None:
    for sides in ((side, 28), (28, side)):
        with pytest.raises(ValueError, match=r"expected 1 to 16384"):
            Preprocessing(*sides)


def test_a_size_is_taken() -> None:
    assert Preprocessing(28, 16_384).width == 16_384
