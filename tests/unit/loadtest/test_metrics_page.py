"""What is read off the service's own /metrics page."""

from loadtest.target.metrics import Scrape, parse
from service.observability.metrics.registry import Metrics
from service.types import ModelRef, PredictResult, Timings


def _scrape(metrics: Metrics, model: str = "cats") -> Scrape:
    return parse(metrics.page()[0].decode(), model, 3)


def test_batches_and_stages_are_counted_from_one_look_to_the_next() -> None:
    metrics, ref = Metrics(), ModelRef("cats", 3)
    batches = metrics.batches(ref)
    batches.batch(1, 0)
    before = _scrape(metrics)
    for rows in (1, 1, 2, 8, 7, 40):
        batches.batch(rows, 0)
    metrics.started()
    metrics.succeeded(
        "http", PredictResult(ref, "", {}, timings=Timings(0.001, 0.002, 0.003, 0.004, 0.005, 0.015), served_by=(ref,))
    )
    after = _scrape(metrics)
    assert after.batches_since(before) == {1: 2, 2: 1, 8: 2, 64: 1}
    stages = {stage: round(milliseconds, 6) for stage, milliseconds in after.stages_since(before).items()}
    assert stages == {"read": 1, "decode": 2, "queue": 3, "batch": 4, "compute": 5, "total": 15}
    other = _scrape(metrics, "dogs")
    assert other.batches_since(other) == {} and other.stages_since(other) == {}
