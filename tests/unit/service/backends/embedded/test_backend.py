"""The embedded engine with anybody's `.tflite`."""

import asyncio
import os
import threading
from pathlib import Path

import numpy as np
import pytest

from service.backends.base import CannotLoad
from service.backends.embedded.backend import EmbeddedBackend
from service.backends.embedded.profile_store import ProfileStore
from service.repository import checksums
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


async def test_loads_that_hang_leave_threads_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    go_on, check = threading.Event(), checksums.check

    def hang(folder: Path) -> None:
        if folder.parent.name != "lite":
            go_on.wait()
            raise ValueError("nobody waits for it any more")
        check(folder)

    monkeypatch.setattr(checksums, "check", hang)
    names = [f"hung{number}" for number in range((os.cpu_count() or 1) + 8)]  # more threads than asyncio has
    for name in [*names, "lite"]:
        lite_zoo.write(tmp_path / name / "1" / "model.tflite")
    backend = EmbeddedBackend(Repository(tmp_path), ProfileStore.at(tmp_path / "cache"))
    hung = [asyncio.create_task(backend.load(name, 1)) for name in names]
    try:
        async with asyncio.timeout(60):
            loaded = await backend.load("lite", 1)
            assert set(await backend.find()) == {*names, "lite"}
        await loaded.runner.close()
    finally:
        for task in hung:
            task.cancel()
        await asyncio.gather(*hung, return_exceptions=True)
        go_on.set()


@pytest.mark.parametrize("path", ["assets/labels.txt", "variables/variables.index", "assets.extra/files.json"])
async def test_a_pipe_in_a_version_is_refused_and_not_read(tmp_path: Path, path: str) -> None:
    lite_zoo.write(tmp_path / "lite" / "1" / "model.tflite")
    (tmp_path / "lite" / "1" / path).parent.mkdir()
    os.mkfifo(tmp_path / "lite" / "1" / path)
    backend = EmbeddedBackend(Repository(tmp_path), ProfileStore.at(tmp_path / "cache"))
    async with asyncio.timeout(60):
        with pytest.raises(ValueError, match=f"{path} is neither a file nor a folder"):
            await backend.load("lite", 1)


@pytest.mark.parametrize(
    "path", ["model.tflite", "saved_model.pb", "assets.extra/manifest.json", "assets.extra/files.json"]
)
async def test_why_a_version_cannot_be_loaded_names_no_place_of_this_machine(tmp_path: Path, path: str) -> None:
    lite_zoo.write(tmp_path / "lite" / "1" / "model.tflite")
    (tmp_path / "lite" / "1" / path).parent.mkdir(exist_ok=True)
    (tmp_path / "lite" / "1" / path).write_bytes(b"rubbish")
    backend = EmbeddedBackend(Repository(tmp_path), ProfileStore.at(tmp_path / "cache"))
    with pytest.raises(CannotLoad) as refused:
        await backend.load("lite", 1)
    assert "lite/1" in str(refused.value) and str(tmp_path) not in str(refused.value)
    assert str(tmp_path / "lite" / "1") in refused.value.for_log
