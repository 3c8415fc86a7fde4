"""The catalog: what is loaded follows what is found, and never for the worse."""

import asyncio
import re
from dataclasses import replace

import numpy as np
import pytest

from service.backends.base import Golden, Loaded
from service.backends.fake import FAKE_SIGNATURES, FakeBackend, FakeRunner
from service.errors import NotFound, NotReady
from service.models import registry
from service.models.registry import Catalog
from service.models.version import State, Status
from service.observability.metrics.registry import Metrics
from service.repository.manifest import Manifest
from service.types import ModelRef, PredictResult
from tests.support.batchers import batcher


def catalog(backend: FakeBackend, keep: int = 2) -> Catalog:
    return Catalog(
        backend,
        lambda loaded: batcher(loaded.runner, max_queued_rows=100),
        Metrics(),
        keep=keep,
        needs_models=True,
    )


def states(target: Catalog, name: str = "m") -> dict[int, State]:
    return {status.version: status.state for status in target.statuses(name)}


async def settled() -> None:
    for _ in range(10):
        await asyncio.sleep(0)


async def test_the_newest_versions_are_kept_and_the_newest_answers() -> None:
    backend = FakeBackend()
    for version in (1, 2, 3):
        backend.add("m", version)
    target = catalog(backend)
    await target.sync()
    assert target.available() == {"m": [3, 2]}
    with target.lease(ModelRef("m")) as servable:
        assert servable.ref.version == 3
    with target.lease(ModelRef("m", 2)) as servable:
        assert servable.ref.version == 2
    assert backend.loads == [("m", 3), ("m", 2)]


async def test_a_new_version_takes_over_and_the_oldest_goes_after_its_last_request() -> None:
    backend = FakeBackend()
    old = backend.add("m", 1)
    target = catalog(backend, keep=1)
    await target.sync()
    with target.lease(ModelRef("m")) as servable:
        backend.add("m", 2)
        await target.sync()
        await settled()
        assert states(target) == {2: State.AVAILABLE, 1: State.UNLOADING} and not old.closed
        answer = await servable.batcher.submit("serving_default", {"x": np.ones((1, 2), np.float32)})
        assert answer.outputs["y"].tolist() == [[2, 2]]
    await settled()
    assert old.closed and states(target) == {2: State.AVAILABLE, 1: State.END}


async def test_a_broken_version_never_replaces_a_working_one() -> None:
    backend = FakeBackend()
    backend.add("m", 1)
    target = catalog(backend, keep=1)
    await target.sync()
    backend.versions["m", 2] = ValueError("half a file")
    await target.sync()
    await target.sync()
    assert target.available() == {"m": [1]}
    assert backend.loads.count(("m", 2)) == 1, "a broken version is not tried again until it changes"
    with pytest.raises(NotFound, match="half a file"):
        target.lease(ModelRef("m", 2))
    backend.add("m", 2)
    backend.fingerprints["m", 2] = "repaired"
    await target.sync()
    assert target.available() == {"m": [2]}


async def test_a_version_that_cannot_be_loaded_is_told_of_until_it_goes_or_loads() -> None:
    def failed() -> list[str]:
        page = metrics.page()[0].decode()
        return [
            line for line in page.splitlines() if line.startswith("model_server_version_failed") and line[-3:] == "1.0"
        ]

    backend, metrics = FakeBackend(), Metrics()
    target = Catalog(
        backend, lambda loaded: batcher(loaded.runner, max_queued_rows=100), metrics, keep=2, needs_models=True
    )
    backend.add("m", 1)
    backend.versions["m", 2] = ValueError("half a file")
    backend.versions["m", 3] = ValueError("another half")
    await target.sync()
    assert failed() == [f'model_server_version_failed{{model="m",version="{number}"}} 1.0' for number in (3, 2)]
    del backend.versions["m", 2]
    await target.sync()
    assert failed() == ['model_server_version_failed{model="m",version="3"} 1.0']
    backend.add("m", 3)
    backend.fingerprints["m", 3] = "repaired"
    await target.sync()
    assert failed() == [] and target.available() == {"m": [3, 1]}


async def test_a_version_that_changes_on_disk_is_loaded_again_under_its_number() -> None:
    backend = FakeBackend()
    old = backend.add("m", 1)
    target = catalog(backend)
    await target.sync()
    backend.add("m", 1)
    backend.fingerprints["m", 1] = "changed"
    await target.sync()
    await settled()
    assert old.closed and target.available() == {"m": [1]} and states(target) == {1: State.AVAILABLE}


async def test_a_version_that_breaks_on_disk_goes_on_in_memory() -> None:
    backend = FakeBackend()
    runner = backend.add("m", 1)
    target = catalog(backend)
    await target.sync()
    backend.versions["m", 1] = ValueError("overwritten with rubbish")
    backend.fingerprints["m", 1] = "changed"
    await target.sync()
    await settled()
    assert not runner.closed and target.available() == {"m": [1]}
    (status,) = target.statuses("m")
    assert status.state is State.AVAILABLE and status.error == "overwritten with rubbish", "it says why"


SECOND = {**FAKE_SIGNATURES, "second": FAKE_SIGNATURES["serving_default"]}


@pytest.mark.parametrize("number", [1, 2], ids=["under its own number", "as the next one"])
@pytest.mark.parametrize(
    ("manifest", "lacks"),
    [
        (Manifest("m", 2, SECOND, checked=False), "manifest.json"),
        (Manifest("m", 2, FAKE_SIGNATURES, checked=True), "signature second"),
    ],
)
async def test_a_version_with_less_than_the_one_in_service_replaces_it_only_when_that_is_removed(
    manifest: Manifest, lacks: str, number: int
) -> None:
    backend = FakeBackend()
    backend.add("m", 1, manifest=Manifest("m", 1, SECOND, checked=True))
    target = catalog(backend, keep=1)
    await target.sync()
    backend.add("m", number, manifest=replace(manifest, version=number))
    backend.fingerprints["m", number] = "less"
    for _ in range(3):
        await target.sync()
    assert target.available() == {"m": [1]} and backend.loads.count(("m", number)) == (2 if number == 1 else 1)
    error = target.statuses("m")[0].error
    assert lacks in error and ("publish the change as a new version" if number == 1 else "remove version 1") in error
    if number == 2:
        del backend.versions["m", 1]
        await target.sync()
        assert target.available() == {"m": [2]}, "nothing holds it back any more"


async def test_an_older_version_may_have_less() -> None:
    backend = FakeBackend()
    backend.add("m", 1)
    backend.add("m", 2, manifest=Manifest("m", 2, SECOND, checked=True))
    target = catalog(backend)
    await target.sync()
    assert target.available() == {"m": [2, 1]}


async def test_of_what_has_gone_the_last_few_are_told_of_and_none_is_counted() -> None:
    backend, metrics = FakeBackend(), Metrics()
    target = Catalog(
        backend, lambda loaded: batcher(loaded.runner, max_queued_rows=100), metrics, keep=1, needs_models=True
    )

    def counted() -> set[tuple[str, str]]:
        metrics.page()  # a scrape of what was counted to the end
        return set(re.findall(r'model="(m|other\d+)",(?:\w+="\w+",)*version="(\d+)"', metrics.page()[0].decode()))

    for version in range(1, 21):
        backend.versions.clear()
        backend.add("m", version)
        backend.versions["m", version + 100] = ValueError("broken")
        await target.sync()
        metrics.succeeded("http", PredictResult(ModelRef("m", version), "", {}, served_by=(ModelRef("m", version),)))
        metrics.batches(ModelRef("m", version)).batch(1, 0)
        await settled()
    await target.sync()
    known = {status.version: (status.state, status.error) for status in target.statuses("m")}
    broken, ended = (State.END, "broken"), (State.END, "")
    assert known == {120: broken, 119: broken, 118: broken, 117: broken, 20: (State.AVAILABLE, "")}
    assert counted() == {("m", str(version)) for version in known}
    for number in range(40):
        backend.versions.clear()
        backend.add(f"other{number}", 1)
        await target.sync()
        await settled()
    await target.sync()
    assert target.index()["other38"] == [Status(1, *ended)]
    assert 10 < len(target.index()) < 20 and counted() == {("other39", "1")}


async def test_a_version_that_comes_back_is_counted_again() -> None:
    backend, metrics = FakeBackend(), Metrics()
    target = Catalog(
        backend, lambda loaded: batcher(loaded.runner, max_queued_rows=100), metrics, keep=1, needs_models=True
    )
    for _ in range(2):
        backend.add("m", 1)
        await target.sync()
        del backend.versions["m", 1]
        await target.sync()
        await settled()
    backend.add("m", 1)
    await target.sync()
    metrics.page()
    metrics.batches(ModelRef("m", 1)).batch(1, 0)
    assert b'model_server_batch_rows_count{model="m",version="1"} 1.0' in metrics.page()[0]


async def test_failures_of_a_version_that_comes_back_are_counted_again() -> None:
    backend, metrics = FakeBackend(), Metrics()
    target = Catalog(
        backend, lambda loaded: batcher(loaded.runner, max_queued_rows=100), metrics, keep=1, needs_models=True
    )
    series = b'model_server_requests_total{code="OVERLOADED",model="m",protocol="http",version="1"} 1.0'
    for _ in range(2):
        backend.add("m", 1)
        await target.sync()
        metrics.failed("http", "OVERLOADED", ModelRef("m", 1))
        assert series in metrics.page()[0]
        del backend.versions["m", 1]
        await target.sync()
        await settled()
        metrics.page()
        assert series not in metrics.page()[0]


async def test_removed_versions_unload() -> None:
    backend = FakeBackend()
    runner = backend.add("m", 1)
    target = catalog(backend)
    await target.sync()
    del backend.versions["m", 1]
    await target.sync()
    await settled()
    assert runner.closed and states(target) == {1: State.END} and "there are no models" in target.find_trouble()
    with pytest.raises(NotFound):
        target.lease(ModelRef("m"))


async def test_an_unreachable_backend_changes_nothing() -> None:
    backend = FakeBackend()
    backend.add("m", 1)
    target = catalog(backend)
    await target.sync()
    backend.unreachable = NotReady("the disk is gone")
    with pytest.raises(NotReady):
        await target.sync()
    assert target.available() == {"m": [1]} and target.find_trouble() == ""


async def test_a_transient_failure_is_tried_again() -> None:
    backend = FakeBackend()
    backend.versions["m", 1] = NotReady("the upstream restarts")
    target = catalog(backend)
    await target.sync()
    backend.add("m", 1)
    await target.sync()
    assert target.available() == {"m": [1]}


async def test_wrong_golden_answers_keep_a_version_out() -> None:
    backend = FakeBackend()
    x = {"x": np.ones((1, 2), np.float32)}
    right, wrong = ({"y": np.full((1, 2), value, np.float32)} for value in (2.0, 2.5))
    runner = FakeRunner()
    backend.versions["m", 1] = Loaded(
        Manifest("m", 1, FAKE_SIGNATURES), runner, golden=Golden("serving_default", x, wrong)
    )
    target = catalog(backend)
    await target.sync()
    assert target.available() == {} and runner.closed
    assert "differs by 0.5" in target.statuses("m")[0].error
    backend.versions["m", 2] = Loaded(
        Manifest("m", 2, FAKE_SIGNATURES), FakeRunner(), golden=Golden("serving_default", x, right)
    )
    await target.sync()
    assert target.available() == {"m": [2]}


async def test_warm_up_runs_before_traffic_and_its_failure_keeps_a_version_out() -> None:
    backend = FakeBackend()
    runner = FakeRunner()
    good = ("serving_default", {"x": np.ones((4, 2), np.float32)})
    backend.versions["m", 1] = Loaded(Manifest("m", 1, FAKE_SIGNATURES), runner, warmup=(good,))
    bad = ("no_such_signature", good[1])
    backend.versions["m", 2] = Loaded(Manifest("m", 2, FAKE_SIGNATURES), FakeRunner(), warmup=(bad,))
    target = catalog(backend)
    await target.sync()
    assert runner.calls == [4] and target.available() == {"m": [1]}
    assert "no_such_signature" in target.statuses("m")[0].error


async def test_what_warm_up_took_is_given_back_before_a_version_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    backend, seen = FakeBackend(), list[object]()
    runner = FakeRunner()
    warmup = ("serving_default", {"x": np.ones((4, 2), np.float32)})
    backend.versions["m", 1] = Loaded(Manifest("m", 1, FAKE_SIGNATURES), runner, warmup=(warmup,))
    target = catalog(backend)
    monkeypatch.setattr(registry, "release_memory", lambda: seen.append((list(runner.calls), states(target))))
    await target.sync()
    assert seen == [([4], {1: State.LOADING})] and target.available() == {"m": [1]}


class Hanging(FakeBackend):
    """Loads of the models in `hung` do not end."""

    hung: frozenset[str] = frozenset()

    async def load(self, name: str, version: int) -> Loaded:
        if name in self.hung:
            self.loads.append((name, version))
            await asyncio.Event().wait()
        return await super().load(name, version)


async def test_loads_that_hang_hold_up_neither_other_models_nor_readiness(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(registry, "_PATIENCE", 0.05)
    backend = Hanging()
    backend.hung = frozenset(f"hung{number:02}" for number in range(20))  # more than load at a time
    for name in [*backend.hung, "m"]:
        backend.add(name, 1)
    target = catalog(backend)
    async with asyncio.timeout(10):
        await target.sync()
    assert target.find_trouble() == "" and target.available() == {"m": [1]}
    assert "still loading: hung00, hung01" in caplog.text
    with pytest.raises(NotReady, match="still loading"):
        target.lease(ModelRef("hung00"))
    backend.add("another", 1)
    await target.look_again("another")
    assert target.available() == {"another": [1], "m": [1]}
    await target.close()


@pytest.mark.parametrize("others", [[], ["m"]], ids=["alone", "beside another"])
async def test_a_model_that_hung_is_loaded_once_its_files_are_others(
    monkeypatch: pytest.MonkeyPatch, others: list[str]
) -> None:
    monkeypatch.setattr(registry, "_PATIENCE", 0.05)
    backend = Hanging()
    backend.hung = frozenset(["hung"])
    for name in ["hung", *others]:
        backend.add(name, 1)
    target = catalog(backend)
    sync = asyncio.create_task(target.sync())
    async with asyncio.timeout(10):
        await (sync if others else asyncio.wait([sync], timeout=0.2))
        assert target.available() == {name: [1] for name in others} and sync.done() == bool(others)
        backend.hung = frozenset()
        backend.fingerprints["hung", 1] = "repaired"
        await (target.look_again("hung") if others else sync)
    assert target.available() == {name: [1] for name in ["hung", *others]} and target.find_trouble() == ""
    await target.close()


async def test_a_model_that_hung_and_is_removed_is_loading_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_PATIENCE", 0.05)
    backend = Hanging()
    backend.hung = frozenset(["hung"])
    backend.add("hung", 1)
    backend.add("m", 1)
    target = catalog(backend)
    async with asyncio.timeout(10):
        await target.sync()
        del backend.versions["hung", 1]
        await target.look_again("hung")
    assert states(target, "hung") == {1: State.END}
    await target.close()


async def test_loading_answers_not_ready_and_unknown_answers_what_there_is() -> None:
    backend = FakeBackend(load_seconds=0.05)
    backend.add("m", 1)
    target = catalog(backend)
    with pytest.raises(NotReady, match="still loading"):
        target.lease(ModelRef("m"))
    sync = asyncio.create_task(target.sync())
    await asyncio.sleep(0.01)
    with pytest.raises(NotReady, match="still loading"):
        target.lease(ModelRef("m"))
    await sync
    with pytest.raises(NotFound, match=r"Latest\(other\).*\['m'\]"):
        target.lease(ModelRef("other"))
    with pytest.raises(NotFound, match=r"Specific\(m, 7\).*\[1\]"):
        target.lease(ModelRef("m", 7))


async def test_a_load_that_hangs_holds_up_its_own_model_only() -> None:
    class Stuck(FakeBackend):
        async def load(self, name: str, version: int) -> Loaded:
            if name == "stuck":
                await asyncio.Event().wait()
            return await super().load(name, version)

    backend = Stuck()
    backend.add("m", 1)
    target = catalog(backend)
    await target.sync()
    backend.add("stuck", 1)
    watch = asyncio.create_task(target.watch(0.01))
    await asyncio.sleep(0.05)
    backend.add("m", 2)
    await asyncio.sleep(0.1)
    assert target.available() == {"m": [2, 1]}
    assert states(target, "stuck") == {1: State.LOADING}
    watch.cancel()
    await asyncio.wait_for(target.close(), 5)


async def test_only_so_many_versions_load_at_a_time() -> None:
    class Counting(FakeBackend):
        loading = most = 0

        async def load(self, name: str, version: int) -> Loaded:
            self.loading += 1
            self.most = max(self.most, self.loading)
            try:
                return await super().load(name, version)
            finally:
                self.loading -= 1

    backend = Counting(load_seconds=0.001)
    for number in range(20):
        backend.add(f"m{number}", 1)
    target = Catalog(
        backend,
        lambda loaded: batcher(loaded.runner, max_queued_rows=100),
        Metrics(),
        keep=1,
        needs_models=True,
        loads=3,
    )
    await target.sync()
    assert len(target.available()) == 20 and backend.most == 3
