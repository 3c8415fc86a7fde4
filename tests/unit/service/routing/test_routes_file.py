"""The file under a running service: what it says twice is taken over whole, what is wrong changes nothing."""

import logging
from pathlib import Path

import pytest

from service.host.file_watcher import ReloadError
from service.observability.metrics.registry import Metrics
from service.routing.routes_file import RoutesFile
from service.types import ModelRef

GOOD = "routes: {a: m/1}"


def valid(metrics: Metrics) -> bool:
    return b"model_server_routes_valid 1.0" in metrics.page()[0]


async def looks(file: RoutesFile, times: int = 2) -> None:
    assert file.watcher is not None
    for _ in range(times):
        await file.watcher.look()


def target(file: RoutesFile, name: str = "a") -> ModelRef:
    return file.routes.by_name[name].split[0].target


@pytest.mark.parametrize(
    ("content", "says"), [(None, "No such file"), (b"routes: {a: }", "routes.a"), (b"\xff", "UTF-8")]
)
def test_a_bad_file_at_the_start_is_one_line(tmp_path: Path, content: bytes | None, says: str) -> None:
    path = tmp_path / "routes.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ReloadError) as raised:
        RoutesFile(path, Metrics())
    assert str(raised.value).startswith(str(path)) and says in str(raised.value) and "\n" not in str(raised.value)


async def test_a_change_is_taken_over_once_it_keeps_still(tmp_path: Path) -> None:
    path, metrics = tmp_path / "routes.yaml", Metrics()
    path.write_text(GOOD)
    file = RoutesFile(path, metrics)
    before = file.routes
    for half in ("routes: {a: m/2", "routes: {a: m/2}", "routes: {a: m/2}\n# and", "routes: {a: m/3, b: n}"):
        path.write_text(half)
        await looks(file, 1)
        assert file.routes is before and not file.error, "still being written"
    await looks(file, 1)
    assert target(file) == ModelRef("m", 3) and target(file, "b") == ModelRef("n") and valid(metrics)


async def test_what_is_wrong_changes_nothing_and_is_said_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path, metrics = tmp_path / "routes.yaml", Metrics()
    path.write_text(GOOD)
    file = RoutesFile(path, metrics)
    before = file.routes
    path.write_text("routes: {a: m/2, b: }")
    with caplog.at_level(logging.INFO):
        await looks(file, 5)
        assert file.routes is before and "routes.b" in file.error and not valid(metrics)
        assert sum("routes.b" in message for message in caplog.messages) == 1
        path.unlink()
        await looks(file, 5)
        assert file.routes is before and "No such file" in file.error
        path.write_text(GOOD)
        await looks(file)
        assert file.routes is before and not file.error and valid(metrics)
        path.write_text("routes: {a: m/2}")
        await looks(file)
        assert target(file) == ModelRef("m", 2)
    assert len(caplog.records) == 4, caplog.messages


async def test_a_worker_started_again_goes_on_with_what_was_in_force(tmp_path: Path) -> None:
    path, kept = tmp_path / "routes.yaml", tmp_path / "kept"
    path.write_text(GOOD)
    first = RoutesFile(path, Metrics(), kept)
    path.write_text("routes: {a: m/2}")
    await looks(first)
    path.write_text("routes: {a: ")
    metrics = Metrics()
    again = RoutesFile(path, metrics, kept)
    assert target(again) == ModelRef("m", 2) and str(path) in again.error and not valid(metrics)
    path.write_text("routes: {a: m/3}")
    await looks(again)
    assert target(again) == ModelRef("m", 3) and not again.error and valid(metrics)
    assert RoutesFile(path, Metrics(), kept).routes == again.routes


def test_no_file_means_no_routes() -> None:
    file = RoutesFile(None, Metrics())
    assert file.watcher is None and not file.error
    assert not file.routes.by_name and not file.routes.only_routes
