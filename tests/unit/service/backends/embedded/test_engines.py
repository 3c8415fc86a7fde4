"""Which engine runs a version: real engines, and a real lenet5."""

import asyncio
import json
import logging
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from service.backends.base import Loaded
from service.backends.embedded import autotune, race, version_race
from service.backends.embedded import engines as module
from service.backends.embedded.backend import EmbeddedBackend
from service.backends.embedded.deferred import DeferredRunner
from service.backends.embedded.engines import Engines
from service.backends.embedded.profile_store import ProfileStore
from service.backends.golden import BFLOAT16
from service.errors import BackendFailed, InvalidInput
from service.host.cpu import cores
from service.models.registry import Catalog
from service.models.warmup import warm
from service.observability.metrics.registry import Metrics
from service.repository import checksums
from service.repository.manifest import (
    GOLDEN,
    MANIFEST,
    OPENVINO,
    OPENVINO_INT8,
    OPENVINO_INT8_GOLDEN,
    TFLITE,
    Manifest,
    Profile,
)
from service.repository.repository import Repository
from service.types import ModelRef
from tests.support.batchers import batcher

pytest.importorskip(
    "openvino_telemetry", reason="OpenVINO is not installed"
)  # not openvino: its import reports to Intel

COSTS = {race.LITERT: {1: 2.0, race.MANY: 8.0}, "openvino float32": {1: 1.0, race.MANY: 4.0}}
INT8_RIVAL = "openvino int8"


@pytest.fixture
def repository(lenet5_repository: Path, tmp_path: Path) -> Path:
    shutil.copytree(lenet5_repository, tmp_path / "models")
    return tmp_path / "models"


@pytest.fixture
def races(monkeypatch: pytest.MonkeyPatch) -> list[set[str]]:
    """Who took part in each race, whose costs are COSTS where it has them."""
    seen: list[set[str]] = []

    def measure(calls: dict[str, race.Call], seconds: float, lanes: int = 1) -> Any:
        for call in calls.values():
            call(1)
        if not any(" x " in name for name in calls):  # layouts of one rival
            seen.append(set(calls))
        return {name: COSTS.get(name, {1: 1.0, race.MANY: 4.0}) for name in calls}, {}

    monkeypatch.setattr(race, "measure_in_turns", measure)
    monkeypatch.setattr(version_race, "_BUSY", float("inf"))  # COSTS are none of this machine's
    return seen


def open_backend(repository: Path, engine: str = "auto", precision: str = "exported") -> EmbeddedBackend:
    profiles = ProfileStore.at(repository.parent / "cache")
    return EmbeddedBackend(Repository(repository), profiles, Engines(engine, precision, module._PATIENCE))


def load(repository: Path, engine: str = "auto", precision: str = "exported") -> Loaded:
    async def load_and_warm() -> Loaded:
        loaded = await open_backend(repository, engine, precision).load("lenet5", 1)
        await warm(loaded)
        signatures = loaded.manifest.signatures
        for name in ("image", "tensor"):
            (alias, spec) = next(iter(signatures[name].inputs.items()))
            rows = np.zeros((11, *[size or 1 for size in (spec.shape or ())[1:]]), spec.dtype)
            answers = await loaded.runner.run(name, {alias: rows}, (), None)
            assert answers["probabilities"].shape == (11, 10)
        await loaded.runner.close()
        return loaded

    return asyncio.run(load_and_warm())


def change_manifest(repository: Path, **changes: object) -> None:
    folder = repository / "lenet5" / "1"
    file = folder / MANIFEST
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    checksums.write(folder)


@pytest.mark.parametrize("engine", ["auto", "openvino", "litert", pytest.param("tensorflow", marks=pytest.mark.slow)])
def test_every_engine_answers_every_signature(repository: Path, engine: str, races: list[set[str]]) -> None:
    loaded = load(repository, engine)
    assert loaded.engine == {"auto": "openvino"}.get(engine, engine)
    assert loaded.precision == ("" if engine == "tensorflow" else "float32")
    assert bool(races) == (engine in ("auto", "openvino"))


async def test_openvino_is_given_rows(repository: Path, races: list[set[str]]) -> None:
    loaded = await open_backend(repository, "openvino").load("lenet5", 1)
    with pytest.raises(InvalidInput, match="'image' has no values"):
        await loaded.runner.run("image", {"image": np.zeros((0, 28, 28, 3), np.uint8)}, (), None)
    await loaded.runner.close()


def test_a_race_is_run_once_and_its_profile_names_all_costs(
    repository: Path, races: list[set[str]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    first = load(repository)
    (line,) = (each for each in caplog.messages if " runs on " in each)
    assert line == (
        "lenet5/1 runs on openvino in float32: openvino float32 1 ms alone, 0.5 ms an image in 8s; "
        "litert 2 ms alone, 1 ms an image in 8s"
    )
    second = load(repository)
    assert races == [{race.LITERT, "openvino float32"}]
    assert first.manifest.profile == second.manifest.profile
    assert first.manifest.profile is not None
    assert set(first.manifest.profile.milliseconds) == {"image", "tensor"}


def test_litert_keeps_its_own_profile_where_it_wins(
    repository: Path, races: list[set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COSTS, race.LITERT, {1: 1.05, race.MANY: 4.2})
    for _ in range(2):
        loaded = load(repository)
        assert loaded.engine == "litert"
        assert loaded.manifest.profile is not None
        assert list(loaded.manifest.profile.race) == ["litert", "openvino float32"]
    assert len(races) == 1
    assert load(repository, "openvino").engine == "openvino"


def test_a_start_does_not_load_openvino_where_litert_has_won(
    repository: Path, races: list[set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from service.backends.embedded import openvino

    monkeypatch.setitem(COSTS, race.LITERT, {1: 0.1, race.MANY: 0.4})
    assert load(repository, precision="fast").engine == "litert"
    for loader in ("find_precisions", "import_openvino", "_core"):
        monkeypatch.setattr(openvino, loader, None)
    assert load(repository, precision="fast").engine == "litert"
    assert len(races) == 1


def test_a_race_on_a_busy_machine_finds_nothing_out(
    repository: Path, races: list[set[str]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(version_race, "_BUSY", 4.0)
    monkeypatch.setitem(COSTS, race.LITERT, {1: 400.0, race.MANY: 900.0})  # lenet5 takes a small part of one
    for _ in range(2):
        assert load(repository).engine == "litert"
    assert len(races) == 2
    assert "lenet5/1: this machine is too busy to compare engines: litert took 400 ms" in caplog.text


def test_an_engine_that_is_asked_for_runs_even_where_it_was_too_slow_for_a_batch(
    repository: Path, races: list[set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(COSTS, "openvino float32", {1: 9.0})
    assert load(repository, "openvino").engine == "openvino"
    assert load(repository).engine == "litert"


@pytest.mark.skipif(cores() == 1, reason="one core has one layout")
@pytest.mark.parametrize(("wide", "lanes"), [({1: 4.6, race.MANY: 22.0}, 1), ({1: 4.6, race.MANY: 40.0}, cores())])
def test_the_layout_is_the_better_one_of_a_lone_image_and_of_batches_on_all_lanes(
    repository: Path, races: list[set[str]], monkeypatch: pytest.MonkeyPatch, wide: dict[int, float], lanes: int
) -> None:
    """As efficientnet_lite0 measured it in bfloat16 on two cores: a lone image was not sooner by a quarter."""
    monkeypatch.setitem(COSTS, f"openvino float32 {cores()} x 1", {1: 6.1, race.MANY: 23.6 * cores()})
    monkeypatch.setitem(COSTS, f"openvino float32 1 x {cores()}", wide)
    profile = load(repository, "openvino").manifest.profile
    assert profile is not None
    assert (profile.lanes, profile.threads) == (lanes, cores() // lanes)


@pytest.mark.skipif(cores() == 1, reason="one core has one layout")
@pytest.mark.parametrize(("batch", "engine"), [(270.0, "openvino"), (330.0, "litert")])
def test_a_rival_that_is_slower_in_litert_s_layout_may_win_in_its_own(
    repository: Path, races: list[set[str]], monkeypatch: pytest.MonkeyPatch, batch: float, engine: str
) -> None:
    """As convnext_tiny measured it in bfloat16 on two cores. LiteRT's layout is of one thread."""
    tuned = EmbeddedBackend._litert

    def tune_narrow(self: EmbeddedBackend, path: Path, shipped: Profile | None) -> Any:
        narrow = replace(tuned(self, path, shipped)[1], lanes=cores(), threads=1)
        return autotune.load_tuned(path, narrow), narrow

    monkeypatch.setattr(EmbeddedBackend, "_litert", tune_narrow)
    monkeypatch.setattr(version_race, "_LARGE", float("inf"))
    narrow = {1: 64.6, race.MANY: 265.0 * cores()}
    monkeypatch.setitem(COSTS, race.LITERT, {1: 46.8, race.MANY: 265.5 * cores()})
    monkeypatch.setitem(COSTS, "openvino float32", narrow)
    monkeypatch.setitem(COSTS, f"openvino float32 {cores()} x 1", narrow)
    monkeypatch.setitem(COSTS, f"openvino float32 1 x {cores()}", {1: 33.0, race.MANY: batch})
    loaded = load(repository)
    assert loaded.engine == engine
    if engine == "openvino":
        assert loaded.manifest.profile is not None
        assert (loaded.manifest.profile.lanes, loaded.manifest.profile.threads) == (1, cores())


def test_a_damaged_profile_means_another_race(repository: Path, races: list[set[str]]) -> None:
    load(repository)
    for damage in (b"{", b'{"machine": "x"}'):
        for file in (repository.parent / "cache").iterdir():
            file.write_bytes(damage)
        assert load(repository).engine == "openvino"
    assert len(races) == 3


def test_engines_race_again_where_the_one_that_ran_before_cannot(
    repository: Path, races: list[set[str]], caplog: pytest.LogCaptureFixture
) -> None:
    load(repository)
    for file in (repository.parent / "cache").iterdir():
        file.write_text(file.read_text().replace('"precision": "float32"', '"precision": "float3"'))
    for _ in range(2):
        assert load(repository).engine == "openvino"
    assert "unknown precision 'float3'; expected float32; the engines race again" in caplog.text
    assert len(races) == 2


def test_litert_takes_over_where_openvino_answers_otherwise_than_when_it_won(
    repository: Path, races: list[set[str]], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    load(repository)
    monkeypatch.setattr(module, "find_mismatch", lambda *_: "'probabilities' differs by 0.5 (tolerance 0.01)")
    for _ in range(2):
        assert load(repository).engine == "litert"
    assert (
        caplog.text.count("lenet5/1: OpenVINO ran it before and cannot now: its answers are not those at export") == 1
    )
    assert len(races) == 2


def test_the_golden_questions_are_asked_once_a_start(repository: Path, races: list[set[str]]) -> None:
    for engine, asked in (("auto", False), ("auto", False), ("litert", True)):  # the race asks them
        assert (load(repository, engine).golden is not None) == asked


@pytest.fixture
def gate(races: list[set[str]], monkeypatch: pytest.MonkeyPatch) -> Iterator[threading.Event]:
    """No race ends before this is set."""
    event, measure = threading.Event(), race.measure_in_turns

    def wait(*arguments: Any) -> Any:
        assert event.wait(60)
        return measure(*arguments)

    monkeypatch.setattr(race, "measure_in_turns", wait)
    monkeypatch.setattr(module, "_PATIENCE", 0.05)
    yield event
    event.set()


@pytest.mark.parametrize("kept", [True, False])
async def test_a_version_answers_while_its_race_goes_on_and_changes_engines_without_losing_a_request(
    repository: Path, races: list[set[str]], gate: threading.Event, kept: bool
) -> None:
    if not kept:
        (repository.parent / "cache").write_bytes(b"")  # a file: nothing can be kept
    backend = open_backend(repository)
    catalog = Catalog(
        backend, lambda loaded: batcher(loaded.runner, max_queued_rows=100), Metrics(), keep=1, needs_models=True
    )
    await catalog.sync()
    image = np.load(repository / "lenet5" / "1" / GOLDEN)["images"][:1]
    answered = 0

    def profile() -> Profile:
        found = catalog.find(ModelRef("lenet5")).manifest.profile
        assert found is not None
        return found

    async def ask() -> None:
        nonlocal answered
        while profile().engine == "litert":
            with catalog.lease(ModelRef("lenet5")) as servable:
                answer = await servable.batcher.submit("image", {"image": image})
            assert answer.outputs["probabilities"].shape == (1, 10)
            answered += 1

    assert (profile().engine, profile().racing, profile().race) == ("litert", True, {})
    clients = [asyncio.create_task(ask()) for _ in range(3)]
    while answered < 10:
        await asyncio.sleep(0)
    await catalog.sync()
    assert profile().racing
    gate.set()
    async with asyncio.timeout(60):
        while profile().racing:
            await catalog.sync()
        await asyncio.gather(*clients)
    assert (profile().engine, set(profile().race)) == ("openvino", {"litert", "openvino float32"})
    await catalog.sync()
    assert len(races) == 1
    await catalog.close()


async def test_a_race_in_the_background_that_finds_nothing_out_is_over(
    repository: Path, races: list[set[str]], gate: threading.Event, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(version_race, "_BUSY", 4.0)
    monkeypatch.setitem(COSTS, race.LITERT, {1: 400.0, race.MANY: 900.0})
    backend = open_backend(repository)
    before = await backend.find()
    loaded = await backend.load("lenet5", 1)
    assert loaded.manifest.profile is not None and loaded.manifest.profile.racing
    gate.set()
    async with asyncio.timeout(60):
        while await backend.find() == before:
            await asyncio.sleep(0)
    again = await backend.load("lenet5", 1)
    assert again.manifest.profile is not None
    assert (again.engine, again.manifest.profile.racing, again.manifest.profile.race) == ("litert", False, {})
    assert len(races) == 1


async def test_a_race_that_fails_is_over_and_leaves_the_engine_as_it_is(
    repository: Path, gate: threading.Event, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        assert gate.wait(60)
        raise MemoryError("no room")

    monkeypatch.setattr(race, "measure_in_turns", fail)
    backend = open_backend(repository)
    before = await backend.find()
    loaded = await backend.load("lenet5", 1)
    assert loaded.manifest.profile is not None and loaded.manifest.profile.racing
    gate.set()
    async with asyncio.timeout(60):
        while await backend.find() == before:
            await asyncio.sleep(0)
    again = await backend.load("lenet5", 1)
    assert again.manifest.profile is not None
    assert (again.engine, again.manifest.profile.racing, again.manifest.profile.race) == ("litert", False, {})
    assert caplog.text.count("lenet5/1: the race of engines failed: no room") == 1


async def test_a_version_that_is_removed_while_its_engines_race_is_no_error(
    repository: Path, races: list[set[str]], gate: threading.Event, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    loaded = await open_backend(repository).load("lenet5", 1)
    shutil.rmtree(repository / "lenet5" / "1")
    gate.set()
    async with asyncio.timeout(60):
        while "lenet5/1: it was removed while its engines raced" not in caplog.text:
            await asyncio.sleep(0)
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    await loaded.runner.close()


def test_a_file_that_openvino_cannot_read_leaves_litert(repository: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = repository / "lenet5" / "1" / OPENVINO
    broken.parent.mkdir()
    broken.write_text("<net>")
    checksums.write(repository / "lenet5" / "1")
    loaded = load(repository)
    assert loaded.engine == "litert"
    assert loaded.manifest.profile is not None
    assert "cannot be run by OpenVINO" in loaded.manifest.profile.race["openvino float32"]


def test_an_engine_that_answers_otherwise_than_the_export_is_not_taken(
    repository: Path, races: list[set[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_mismatch", lambda *_: "'probabilities' differs by 0.5 (tolerance 0.01)")
    loaded = load(repository)
    assert loaded.engine == "litert"
    assert loaded.manifest.profile is not None
    assert "differs by 0.5" in loaded.manifest.profile.race["openvino float32"]


@pytest.mark.parametrize(
    ("exported", "precision", "bfloat16"),
    [
        ("float32", "exported", False),
        ("float32", "exact", False),
        ("float32", "fast", True),
        ("int8", "exported", True),
        ("int8", "exact", False),
    ],
)
def test_bfloat16_takes_part_where_it_may_and_the_processor_has_it(
    repository: Path, races: list[set[str]], exported: str, precision: str, bfloat16: bool
) -> None:
    from service.backends.embedded import openvino

    folder = repository / "lenet5" / "1"
    (folder / OPENVINO).parent.mkdir()
    openvino.convert(folder / TFLITE, folder / OPENVINO)
    change_manifest(repository, precision=exported)
    load(repository, "auto", precision)
    capable = BFLOAT16 in openvino.find_precisions()
    assert races == [{race.LITERT, "openvino float32", *(["openvino bfloat16"] if bfloat16 and capable else [])}]


@pytest.mark.parametrize(
    ("capabilities", "precisions"),
    [
        (["FP32", "INT8", "BIN"], ("float32",)),
        (["FP32", "BF16", "INT8"], ("float32", BFLOAT16)),
        (["FP32", "FP16", "INT8"], ("float32", "float16")),
        (["FP32", "FP16", "BF16", "INT8"], ("float32", BFLOAT16, "float16")),
    ],
)
def test_a_precision_takes_part_where_openvino_says_that_the_processor_has_it(
    capabilities: list[str], precisions: tuple[str, ...], monkeypatch: pytest.MonkeyPatch, repository: Path
) -> None:
    from service.backends.embedded import openvino
    from service.backends.embedded.litert import Layout

    asked = SimpleNamespace(get_property=lambda device, name: capabilities)
    with monkeypatch.context() as patch:
        patch.setattr(openvino, "_core", lambda: asked)
        assert openvino.find_precisions.__wrapped__() == precisions
    folder = repository / "lenet5" / "1"
    manifest = Manifest.read(folder, "lenet5", 1)
    assert manifest is not None
    for precision in precisions:  # OpenVINO computes in another one where the processor lacks it
        runner = openvino.OpenVINORunner(folder / TFLITE, manifest.signatures, precision, Layout(1, 1))
        assert runner.call("image", {"image": np.zeros((2, 28, 28, 3), np.uint8)})["probabilities"].shape == (2, 10)


@pytest.fixture
def with_int8(int8_repository: Path, tmp_path: Path) -> Path:
    shutil.copytree(int8_repository, tmp_path / "int8")
    return tmp_path / "int8"


@pytest.mark.parametrize(
    ("exported", "precision", "takes_part"),
    [
        ("float32", "exported", False),
        ("float32", "exact", False),
        ("float32", "fast", True),
        ("int8", "exported", True),
        ("dynamic", "exported", True),
        ("int8", "exact", False),
    ],
)
def test_openvino_s_int8_takes_part_where_rounding_may(
    with_int8: Path, races: list[set[str]], exported: str, precision: str, takes_part: bool
) -> None:
    folder = with_int8 / "lenet5" / "1"
    shutil.copy(int8_file := folder / OPENVINO_INT8, folder / OPENVINO)  # a file for float32, whatever it holds
    shutil.copy(int8_file.with_suffix(".bin"), (folder / OPENVINO).with_suffix(".bin"))
    change_manifest(with_int8, precision=exported)
    load(with_int8, "auto", precision)
    assert [INT8_RIVAL in each for each in races] == [takes_part]


@pytest.fixture
def fast_int8(with_int8: Path, races: list[set[str]], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository of a quantized version whose int8 form wins each race by far."""
    monkeypatch.setitem(COSTS, INT8_RIVAL, {1: 0.1, race.MANY: 0.4})
    change_manifest(with_int8, precision="int8")
    return with_int8


def test_a_version_runs_in_openvino_s_int8_and_says_so(
    fast_int8: Path, races: list[set[str]], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    for _ in range(2):  # by the race, and by what is kept of it
        loaded = load(fast_int8)
        assert (loaded.engine, loaded.precision, loaded.golden) == ("openvino", "int8", None)
    assert caplog.text.count("lenet5/1 runs on openvino in int8: openvino int8 0.1 ms alone") == 2
    assert len(races) == 1


def test_openvino_s_int8_is_held_against_its_own_answers_at_export(fast_int8: Path, races: list[set[str]]) -> None:
    file = fast_int8 / "lenet5" / "1" / OPENVINO_INT8_GOLDEN
    answers = np.load(file)
    for damaged, found in (
        (answers[::-1], "its answers are not those at export: 'probabilities' differs by"),
        (answers[1:], f"has answers of shape {[len(answers) - 1, 10]}"),
        (None, "cannot be read"),
    ):
        file.unlink()
        if damaged is not None:
            np.save(file, damaged)
        checksums.write(file.parents[2])
        loaded = load(fast_int8)
        assert loaded.manifest.profile is not None
        assert loaded.precision != "int8" or loaded.engine == race.LITERT
        assert found in loaded.manifest.profile.race[INT8_RIVAL]
        shutil.rmtree(fast_int8.parent / "cache")


_QUANTIZE = """
import sys
seen = []
sys.addaudithook(lambda event, _: seen.append(event) if event.startswith(("os.fork", "subprocess", "socket")) else None)
from service.backends.embedded import openvino_int8
status = openvino_int8.main(sys.argv[1:])
assert not seen, seen
assert not [name for name in sys.modules if "openvino_telemetry" in name]
sys.exit(status)
"""


@pytest.mark.skipif(find_spec("nncf") is None, reason="NNCF is not installed")
def test_a_network_is_quantized_without_a_word_to_anybody(lenet5_repository: Path, tmp_path: Path) -> None:
    version, home = lenet5_repository / "lenet5" / "1", tmp_path / "home"
    home.mkdir()
    np.save(tmp_path / "images.npy", np.load(version / GOLDEN)["images"])
    command: list[str | Path] = [sys.executable, "-c", _QUANTIZE, version / TFLITE, tmp_path / "int8.xml"]
    command += ["--images", tmp_path / "images.npy"]
    environment = {**os.environ, "HOME": str(home)}
    done = subprocess.run(command, env=environment, input="", capture_output=True, check=False, timeout=120, text=True)
    assert (done.returncode, done.stdout) == (0, "{}\n"), done.stderr
    assert (tmp_path / "int8.bin").stat().st_size < 0.3 * (version / TFLITE).stat().st_size
    assert not list(home.iterdir())


def test_a_quantized_version_without_openvino_s_file_runs_on_litert(
    repository: Path, caplog: pytest.LogCaptureFixture
) -> None:
    change_manifest(repository, precision="int8")
    assert load(repository, "openvino").engine == "litert"
    assert "has nothing that OpenVINO reads" in caplog.text


def test_openvino_is_asked_for_and_not_installed(monkeypatch: pytest.MonkeyPatch, repository: Path) -> None:
    monkeypatch.setattr(module, "find_spec", lambda _: None)
    with pytest.raises(ValueError, match=r"pip install 'image-model-server\[openvino\]'"):
        Engines("openvino")
    assert load(repository).engine == "litert"


async def test_what_loads_with_its_first_call_fails_that_call_alone() -> None:
    problems = [ValueError("half a file")]

    class Nothing:
        slots = 1
        closed = False

        async def run(self, *_: object) -> dict[str, Any]:
            return {"y": np.zeros(1)}

        async def close(self) -> None:
            self.closed = True

    made = Nothing()

    def make() -> Nothing:
        if problems:
            raise problems.pop()
        return made

    runner = DeferredRunner(make)
    await DeferredRunner(make).close()  # never loaded
    with pytest.raises(BackendFailed, match="half a file"):
        await runner.run("s", {}, (), None)
    both = await asyncio.gather(runner.run("s", {}, (), None), runner.run("s", {}, (), None))
    assert [set(each) for each in both] == [{"y"}, {"y"}]
    await runner.close()
    assert made.closed


_IMPORT = """
import sys
seen = []
sys.addaudithook(lambda event, _: seen.append(event) if event.startswith(("os.fork", "subprocess", "socket")) else None)
from service.backends.embedded import openvino
openvino.find_precisions()
assert not seen, seen
assert not [name for name in sys.modules if "telemetry" in name]
"""


def test_openvino_tells_nobody_that_it_is_imported(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", _IMPORT], env={**os.environ, "HOME": str(tmp_path)}, check=True, timeout=120)
    assert not list(tmp_path.iterdir())


def test_a_network_becomes_openvino_s_own_file(lenet5_repository: Path, tmp_path: Path) -> None:
    golden = np.load(lenet5_repository / "lenet5" / "1" / "assets.extra" / "golden.npz")
    np.save(tmp_path / "images.npy", golden["images"])
    model, target = lenet5_repository / "lenet5" / "1" / TFLITE, tmp_path / "model.xml"
    command: list[str | Path] = [
        sys.executable,
        "-m",
        "service",
        "openvino",
        model,
        target,
        "--images",
        tmp_path / "images.npy",
    ]
    done = subprocess.run(command, capture_output=True, check=True, timeout=120)
    assert json.loads(done.stdout)["difference"] < 0.01
    assert target.with_suffix(".bin").stat().st_size < 0.7 * model.stat().st_size
    (tmp_path / "half.tflite").write_bytes(model.read_bytes()[:1000])
    command[4] = tmp_path / "half.tflite"
    failed = subprocess.run(command, capture_output=True, check=False, timeout=120)
    assert failed.returncode == 1
    assert b"half.tflite cannot be read by OpenVINO" in failed.stderr
