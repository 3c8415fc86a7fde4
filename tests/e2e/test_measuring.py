"""The tools behind `make bench` measure what they say, and refuse to measure failures."""

import shutil
from pathlib import Path

import pytest

from loadtest import decoding, engines, machine, wrk
from loadtest.measurement import Measurement
from loadtest.service_process import ServiceProcess

needs_wrk = pytest.mark.skipif(
    shutil.which("wrk") is None, reason="the load generator wrk is not here: apt-get install wrk"
)


def check(measured: Measurement, seconds: float) -> None:
    assert measured.requests > 10 and seconds * 0.9 < measured.seconds < seconds * 2
    assert 0 < measured.p50_ms <= measured.p99_ms < 1000


@needs_wrk
def test_wrk_counts_answers_and_never_failures(lenet5_repository: Path, tmp_path: Path) -> None:
    photo = machine.write_photo(tmp_path / "photo.jpg")
    with ServiceProcess(lenet5_repository) as service:
        assert 0 < service.ready_seconds < 30 and 50 < service.rss_mb() < 1000
        check(wrk.measure(f"{service.url}/predict/lenet5", photo, connections=2, seconds=1), 1)
        with pytest.raises(RuntimeError, match="failed"):
            wrk.measure(f"{service.url}/predict/nobody", photo, connections=2, seconds=1)


@pytest.mark.parametrize("engine", [engines.LITERT, engines.TENSORFLOW])
def test_engines_in_process(lenet5_repository: Path, tmp_path: Path, engine: str) -> None:
    photo = machine.write_photo(tmp_path / "photo.jpg")
    check(engines.measure(engine, lenet5_repository / "lenet5" / "1", photo, threads=2, seconds=1), 1)


def test_decoding_measures_every_size(tmp_path: Path) -> None:
    measured = decoding.measure(machine.write_photo(tmp_path / "photo.jpg").read_bytes())
    assert [(one.width, one.height) for one in measured] == list(decoding.SIZES)
    assert all(one.whole_ms > 0 and one.service_ms > 0 for one in measured)
    assert measured[-1].ratio > 1.5, "12 megapixels are reduced while decoding (7 times as fast, measured)"


def test_a_service_that_cannot_start_says_why(tmp_path: Path) -> None:
    broken = tmp_path / "repository"
    broken.write_text("not a folder")
    service = ServiceProcess(broken, patience=2)
    with pytest.raises(RuntimeError, match="cannot be read"):
        service.__enter__()
