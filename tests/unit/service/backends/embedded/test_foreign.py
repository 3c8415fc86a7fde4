"""Which signature of a foreign SavedModel races, and what is kept of the race."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.backends.embedded.foreign import find_raced, read_answers
from service.repository.manifest import Signature, TensorSpec

ROWS = Signature({"x": TensorSpec("float32", (None, 3))}, {"y": TensorSpec("float32", (None, 2))})


@pytest.mark.parametrize("shape", [(None, 1), (None, None), (4, 3), (), None])
def test_only_rows_of_one_known_shape_race(shape: tuple[int | None, ...] | None) -> None:
    """TensorFlow takes `{"instances": [1.0, 2.0, 5.0]}` where [N, 1] is declared, and OpenVINO does not."""
    other = Signature({"x": TensorSpec("float32", shape)}, {"y": TensorSpec("float32", (None, 1))})
    assert find_raced({"serving_default": other}) is None
    assert find_raced({"serving_default": other, "rows": ROWS}) == "rows"


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda whole: b"", id="empty"),
        pytest.param(lambda whole: whole[: len(whole) // 2], id="half"),
        pytest.param(lambda whole: b"hello", id="text"),
        pytest.param(lambda whole: whole.replace(b"input x", b"input z"), id="another input"),
        pytest.param(lambda whole: whole.replace(bytes(np.float32(7).data), bytes(4)), id="other numbers"),
        pytest.param(None, id="missing"),
    ],
)
def test_damaged_answers_are_named(tmp_path: Path, damage: Callable[[bytes], bytes] | None) -> None:
    path = tmp_path / "answers.npz"
    if damage is not None:
        arrays: dict[str, Any] = {"input x": np.full((11, 3), 7, np.float32), "output y": np.ones((11, 2), np.float32)}
        np.savez(path, **arrays)
        assert (read_answers(path, ROWS)[0]["x"] == arrays["input x"]).all()
        path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(ValueError, match=r"answers\.npz cannot be read"):
        read_answers(path, ROWS)
