"""Anybody's `.tflite`: whose fault a failure is, what it leaves behind, and which batches may go in parts."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.backends.embedded.litert import LARGEST_RUN, Lane, Layout, LiteRTRunner, ModelFile
from service.errors import BackendFailed, InvalidInput
from service.types import Array
from tests.support import tflite_zoo as lite_zoo

GOOD = np.arange(8, dtype=np.float32).reshape(2, 4)


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("lite") / "model.tflite"
    lite_zoo.write(path)
    return path


@pytest.fixture
def lane(path: Path) -> Iterator[Lane]:
    lane = Lane(ModelFile.read(path), 1)
    yield lane
    answer = lane.call("dense", {"x": GOOD})["y"]
    np.testing.assert_allclose(answer, GOOD @ lite_zoo.WEIGHTS)


SHAPES = [(2, 5), (4,), (), (2, 4, 1), (2, 0), (0, 5), (1, 2, 2, 3)]


@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("signature", ["dense", "open", "across", "one_row"])
def test_a_wrong_shape_is_its_senders_fault(lane: Lane, signature: str, shape: tuple[int, ...]) -> None:
    for _ in range(3):
        with pytest.raises(InvalidInput) as refused:
            lane.call(signature, {"x": np.ones(shape, np.float32)})
        assert "shape" in refused.value.message and len(refused.value.message) < 300


def test_a_wrong_shape_for_a_file_without_signatures_too(tmp_path: Path) -> None:
    lite_zoo.write(tmp_path / "model.tflite", signatures=False)
    lane = Lane(ModelFile.read(tmp_path / "model.tflite"), 1)
    for shape in SHAPES:
        with pytest.raises(InvalidInput, match="shape"):
            lane.call("serving_default", {"x": np.ones(shape, np.float32)})
    np.testing.assert_allclose(lane.call("serving_default", {"x": GOOD})["y"], GOOD @ lite_zoo.WEIGHTS)


@pytest.mark.parametrize(
    ("signature", "bad", "kind"),
    [
        ("open", np.ones((2, 5), np.float32), InvalidInput),
        ("pick", np.asarray([7], np.int32), BackendFailed),
        ("dense", np.ones((2, 4), np.float64), InvalidInput),
    ],
)
def test_what_a_failure_says_does_not_grow(lane: Lane, signature: str, bad: Array, kind: type[Exception]) -> None:
    said = set()
    for _ in range(200):
        with pytest.raises(kind) as failed:
            lane.call(signature, {"x": bad})
        said.add(str(failed.value))
        assert failed.value.__cause__ is None or len(str(failed.value.__cause__)) < 300, "it reaches the log"
    assert len(said) == 1 and len(said.pop()) < 300


def test_each_failure_says_its_own_only(lane: Lane) -> None:
    with pytest.raises(InvalidInput, match="failed to prepare"):
        lane.call("open", {"x": np.ones((2, 5), np.float32)})
    with pytest.raises(BackendFailed, match="LiteRT failed: gather index out of bounds"):
        lane.call("pick", {"x": np.asarray([7], np.int32)})
    with pytest.raises(InvalidInput) as refused:
        lane.call("open", {"x": np.ones((2, 5), np.float32)})
    assert "gather" not in refused.value.message


def test_a_lane_is_made_anew_without_its_file(tmp_path: Path) -> None:
    path = tmp_path / "model.tflite"
    lite_zoo.write(path)
    lane = Lane(ModelFile.read(path), 1)
    path.unlink()
    for _ in range(3):
        with pytest.raises(BackendFailed):
            lane.call("pick", {"x": np.asarray([7], np.int32)})
    np.testing.assert_allclose(lane.call("dense", {"x": GOOD})["y"], GOOD @ lite_zoo.WEIGHTS)


async def test_rows_that_depend_on_each_other_are_never_run_in_parts(path: Path) -> None:
    runner = LiteRTRunner(ModelFile.read(path), Layout(1, 1))
    x = np.ones((2 * LARGEST_RUN + 3, 4), np.float32)
    wanted = np.cumsum(x, axis=0)
    in_parts = await runner.run("across", {"x": x}, (), None)
    assert not np.array_equal(in_parts["y"], wanted), "the parts start anew: else this shows nothing"
    runner.keep_whole(["across"])
    whole = await runner.run("across", {"x": x}, (), None)
    np.testing.assert_array_equal(whole["y"], wanted)
    fixed = await runner.run("one_row", {"x": x}, (), None)
    np.testing.assert_allclose(fixed["y"], x @ lite_zoo.WEIGHTS)
    await runner.close()
