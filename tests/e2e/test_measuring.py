"""The tools behind `make bench` measure what they say, and refuse to measure failures."""

import shutil
from pathlib import Path

import pytest

from benchmarks import decoders, decoding, engines, peak, wrk
from benchmarks import model_formats as forms
from benchmarks import stock_model as stock
from benchmarks.measurement import Measurement
from loadtest.target import ceiling, machine
from loadtest.target.process import ServerProcess
from service.repository.manifest import TFLITE

pytestmark = [pytest.mark.slow, pytest.mark.alone]

needs_wrk = pytest.mark.skipif(
    shutil.which("wrk") is None, reason="the load generator wrk is not here: apt-get install wrk"
)


def check(measured: Measurement, seconds: float) -> None:
    assert measured.requests > 10 and seconds * 0.9 < measured.seconds < seconds * 2
    assert 0 < measured.p50_ms <= measured.p99_ms < 1000


@needs_wrk
def test_wrk_counts_answers_and_never_failures(lenet5_repository: Path, tmp_path: Path) -> None:
    photo = machine.write_photo(tmp_path / "photo.jpg")
    with ServerProcess.service(lenet5_repository, "lenet5") as service:
        assert 0 < service.ready_seconds < 30 and 50 < service.memory_mb() < 1000
        check(wrk.measure(service.url, photo, connections=2, seconds=1), 1)
        with pytest.raises(RuntimeError, match="failed"):
            wrk.measure(f"{service.url}_of_nobody", photo, connections=2, seconds=1)


@needs_wrk
def test_the_plain_app_that_we_compare_with_works(tmp_path: Path) -> None:
    photo = machine.write_photo(tmp_path / "photo.jpg")
    import keras

    keras.Sequential([keras.Input((28, 28, 3)), keras.layers.Flatten(), keras.layers.Dense(10, "softmax")]).export(
        tmp_path / "stock", verbose=False
    )
    with ServerProcess.plain(tmp_path / "stock") as plain:
        check(wrk.measure(plain.url, photo, connections=2, seconds=1), 1)
        assert plain.memory_mb() > 300, "both of its workers are counted"


def test_every_form_of_a_network_is_timed(lenet5_repository: Path, tmp_path: Path) -> None:
    version = lenet5_repository / "lenet5" / "1"
    model = stock.exported(tmp_path / "stock", "lenet5")
    measured = forms.measure("lenet5", model, version / TFLITE, version, seconds=0.05, rounds=2)
    assert list(measured) == [forms.STOCK, forms.FROZEN, forms.FLOAT32, forms.PUBLISHED]
    assert all(0 < milliseconds < 1000 for milliseconds in measured.values())


@pytest.mark.parametrize("engine", [engines.LITERT, engines.TENSORFLOW])
def test_engines_in_process(lenet5_repository: Path, tmp_path: Path, engine: str) -> None:
    photo = machine.write_photo(tmp_path / "photo.jpg")
    check(engines.measure(engine, lenet5_repository / "lenet5" / "1", photo, threads=2, seconds=1), 1)


def test_decoding_measures_every_size(tmp_path: Path) -> None:
    measured = decoding.measure(machine.write_photo(tmp_path / "photo.jpg").read_bytes())
    assert [(one.width, one.height) for one in measured] == list(decoding.SIZES)
    assert all(one.whole_ms > 0 and one.service_ms > 0 for one in measured)


def test_a_service_that_cannot_start_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "repository"
    broken.write_text("not a folder")
    service = ServerProcess.service(broken, "nobody", patience=2)
    with pytest.raises(RuntimeError, match="cannot be read"):
        service.__enter__()


def test_a_network_is_timed_in_every_engine_that_is_here(lenet5_repository: Path) -> None:
    found = peak.measure_network({ceiling.FLOAT32: lenet5_repository / "lenet5" / "1" / TFLITE}, 0.05)
    assert (peak.LITERT, ceiling.FLOAT32) in found and all(100 < rate < 1e6 for rate in found.values())


def test_ways_to_decode_give_nearly_the_same_pixels(tmp_path: Path) -> None:
    photo = machine.write_photo(tmp_path / "photo.jpg").read_bytes()
    found = decoders.measure([photo], None)
    assert found[decoders.SERVICE].difference == 0 and found[decoders.SERVICE].milliseconds > 0
    assert all(one.difference < 0.02 for one in found.values())
