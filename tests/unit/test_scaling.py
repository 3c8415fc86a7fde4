"""docs/scaling.md is what its script writes, and its model is the least of what loops and cores can do."""

import pytest

from benchmarks.scaling import BUSY, PAGE, RESULTS, Costs, Scaling, render
from tests.support.exporter import ROOT


def test_the_page_is_what_the_script_writes() -> None:
    written = render(Scaling.read(ROOT / RESULTS))
    assert (ROOT / PAGE).read_text() == written, "run python -m benchmarks.scaling"


@pytest.mark.parametrize(
    ("cores", "workers", "rate"),
    [
        pytest.param(1, 1, 250.0, id="one core computes"),
        pytest.param(4, 1, 1000.0, id="both are at their limit"),
        pytest.param(16, 1, 1000.0, id="the loop is the limit"),
        pytest.param(16, 4, 4000.0, id="four loops are none"),
    ],
)
def test_the_loops_or_the_cores_are_the_limit(cores: int, workers: int, rate: float) -> None:
    assert Costs(loop=1.0, total=4.0).predict(cores, workers) == pytest.approx(rate)


def test_a_client_on_the_same_cores_takes_of_them() -> None:
    assert Costs(loop=1.0, total=4.0).predict(2, 2, client_ms=1.0) == pytest.approx(400.0)


@pytest.mark.parametrize("cores", [1, 2, 3, 4, 8, 16, 61, 64])
@pytest.mark.parametrize("loop", [0.1, 0.7, 3.9])
def test_workers_are_as_few_as_keep_their_loops_from_being_too_busy(cores: int, loop: float) -> None:
    costs = Costs(loop=loop, total=4.0)
    workers, rate = costs.count_workers(cores), costs.predict(cores, cores)
    assert 1 <= workers <= cores
    if workers < cores:
        assert rate * loop / 1000 / workers <= BUSY * 1.01
    if workers > 1:
        assert rate * loop / 1000 / (workers - 1) > BUSY * 0.99
