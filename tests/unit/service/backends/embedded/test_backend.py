"""The embedded engine with anybody's `.tflite`."""

from pathlib import Path

import numpy as np

from service.backends.embedded.backend import EmbeddedBackend
from service.host.cpu import ProfileStore
from service.repository.repository import Repository
from tests.support import tflite_zoo as lite_zoo

ROW = np.arange(4, dtype=np.float32)[np.newaxis]


async def test_a_model_that_refuses_batches_is_served_all_the_same(tmp_path: Path) -> None:
    lite_zoo.write(tmp_path / "lite" / "1" / "model.tflite")
    loaded = await EmbeddedBackend(Repository(tmp_path), ProfileStore.at(tmp_path / "cache")).load("lite", 1)
    assert set(loaded.unshared) == {"lonely", "open", "across", "one_row"}
    assert loaded.manifest.profile is not None
    assert set(loaded.manifest.profile.milliseconds["lonely"]) == {1}
    answer = await loaded.runner.run("lonely", {"x": ROW}, (), None)
    np.testing.assert_array_equal(answer["y"], ROW)
    await loaded.runner.close()
