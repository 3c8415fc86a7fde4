"""Several workers' numbers in files: added up by any of them, and gone with the version that they are of."""

import gc
import os
import tracemalloc
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import values

from service.models.version import State
from service.observability.metrics.registry import Metrics, Shared
from service.observability.metrics.worker_files import forget_worker
from service.types import ModelRef


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture(autouse=True)
def library_as_before(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", "")
    before = values.ValueClass
    yield
    values.ValueClass = before


def publish(metrics: Metrics, version: int, answers: int = 3) -> ModelRef:
    """A version that is loaded and answers."""
    ref = ModelRef("m", version)
    metrics.versions.state(ref, State.AVAILABLE, None)
    metrics.batches(ref).batch(1, 0)
    for _ in range(answers):
        metrics.started()
        metrics.failed("http", "DEADLINE", ref)
        metrics.coalesced(ref)
    return ref


def series(metrics: Metrics, text: str) -> list[str]:
    return [line for line in metrics.page()[0].decode().splitlines() if text in line and not line.startswith("#")]


def test_any_worker_adds_up_all_of_them(tmp_path: Path) -> None:
    publish(one := Metrics(Shared(0, tmp_path, os.getpid())), 1, answers=3)
    publish(other := Metrics(Shared(1, tmp_path, os.getpid())), 1, answers=4)
    wanted = ['model_server_requests_total{code="DEADLINE",model="m",protocol="http",version="1"} 7.0']
    for metrics in (one, other):
        assert series(metrics, "model_server_requests_total{") == wanted
        assert series(metrics, "model_server_version_state") == [
            'model_server_version_state{model="m",state="AVAILABLE",version="1"} 2.0'
        ]


def test_a_worker_that_follows_a_dead_one_counts_on(tmp_path: Path) -> None:
    alive = Metrics(Shared(1, tmp_path, os.getpid()))
    publish(alive, 1, answers=1)
    publish(Metrics(Shared(0, tmp_path, os.getpid())), 1, answers=2)
    forget_worker(0, tmp_path)
    assert series(alive, "requests_total{")[0].endswith(" 3.0")
    assert series(alive, "version_state")[0].endswith(" 1.0"), "what a dead worker said of its present is forgotten"
    publish(Metrics(Shared(0, tmp_path, os.getpid())), 1, answers=2)
    assert series(alive, "requests_total{")[0].endswith(" 5.0")
    assert series(alive, "version_state")[0].endswith(" 2.0")


def test_a_version_goes_from_the_page_at_once_and_from_its_files_later(tmp_path: Path) -> None:
    clock = Clock()
    metrics = Metrics(Shared(0, tmp_path, os.getpid()), clock)
    before = sorted(tmp_path.iterdir())
    ref = publish(metrics, 1)
    with_version = sorted(tmp_path.iterdir())
    assert len(with_version) > len(before)
    metrics.ended(ref, State.AVAILABLE)
    assert not series(metrics, 'version="1"')
    assert sorted(tmp_path.iterdir()) == with_version, "others may still count for it"
    clock.now += 61
    metrics.refresh()
    assert sorted(tmp_path.iterdir()) == before
    publish(metrics, 1, answers=2)
    assert series(metrics, "requests_total{")[0].endswith(" 2.0"), "it counts from zero again"


def test_an_answer_after_the_end_leaves_nothing_for_good(tmp_path: Path) -> None:
    clock = Clock()
    metrics = Metrics(Shared(0, tmp_path, os.getpid()), clock)
    before = sorted(tmp_path.iterdir())
    metrics.ended(ref := publish(metrics, 1), State.AVAILABLE)
    clock.now += 61
    metrics.refresh()
    metrics.started()
    metrics.failed("http", "DEADLINE", ref)
    assert not series(metrics, 'version="1"')
    metrics.refresh()
    assert sorted(tmp_path.iterdir()) == before


def test_a_worker_removes_what_its_dead_predecessor_left_of_versions_that_are_gone(tmp_path: Path) -> None:
    before = Metrics(Shared(0, tmp_path, os.getpid()))
    common = set(tmp_path.iterdir())
    before.ended(publish(before, 1), State.AVAILABLE)
    gone = set(tmp_path.iterdir()) - common
    publish(before, 2)
    forget_worker(0, tmp_path)
    clock, ready = Clock(), False
    metrics = Metrics(Shared(0, tmp_path, os.getpid()), clock)
    metrics.follow_readiness(lambda: ready)
    clock.now += 61
    metrics.refresh()
    assert gone & set(tmp_path.iterdir()), "its models may still load"
    publish(metrics, 2)
    ready = True
    metrics.refresh()
    assert not gone & set(tmp_path.iterdir())
    assert series(metrics, "requests_total{")[0].endswith(" 6.0"), "what it goes on counting for stays"


def test_a_hundred_versions_leave_no_memory_behind(tmp_path: Path) -> None:
    clock = Clock()
    metrics = Metrics(Shared(0, tmp_path, os.getpid()), clock)

    def publish_and_end(versions: range) -> None:
        for version in versions:
            metrics.ended(publish(metrics, version), State.AVAILABLE)
            clock.now += 61
            metrics.refresh()
        gc.collect()

    tracemalloc.start()
    try:
        publish_and_end(range(5))
        before = tracemalloc.get_traced_memory()[0]
        publish_and_end(range(5, 105))
        grown = tracemalloc.get_traced_memory()[0] - before
    finally:
        tracemalloc.stop()
    assert grown < 100 * 4_000, f"{grown / 100:.0f} bytes a version"
