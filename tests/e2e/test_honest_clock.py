"""Percentiles held against a server of known latency: what was injected, and when each request was meant to start."""

import math
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest

from loadtest.generator.arrivals import Arrivals
from loadtest.generator.jobs import Closed, Job, MLPerf, Outcome
from loadtest.generator.parent import GeneratorProcess
from loadtest.measure import why_invalid
from tests.support.latency_server import Spec, serving

pytestmark = [pytest.mark.slow, pytest.mark.alone]

RATE, SECONDS = 60.0, 6.0
WITHIN = 0.03
LATE, ATTEMPTS = 0.01, 3
"""Seconds: where the generator says that 1 % of its starts were later, on a busy machine, it is not held to WITHIN."""


@pytest.fixture(scope="module")
def generator() -> Iterator[GeneratorProcess]:
    with GeneratorProcess() as generator:
        yield generator


def job(url: str, load: Arrivals | Closed | MLPerf, warm_up: float = 0.0) -> Job:
    return Job(url, "", "predict", "known", "", (), load, warm_up, slo=0.6)


def loadgens_schedule(rate: float, count: int) -> list[float]:
    """When LoadGen means to issue: std::exponential_distribution over std::mt19937(0), as libstdc++ draws it."""
    words = np.random.RandomState(0).randint(0, 2**32, size=2 * count, dtype=np.uint64).tolist()
    shares = [(low + high * 2**32) / 2**64 for low, high in zip(words[::2], words[1::2], strict=True)]
    starts = [0.0]
    for share in shares[: count - 1]:
        starts.append(starts[-1] - math.log1p(-share) / rate)
    return starts


def run(generator: GeneratorProcess, spec: Spec, load: Arrivals | MLPerf, warm_up: float = 0.0) -> Outcome:
    for _ in range(ATTEMPTS):
        with serving(spec) as url:
            outcome = generator.run(job(url, load, warm_up))
        if (outcome.late.percentile(99) or 0) <= LATE:
            break
    return outcome


def check(outcome: Outcome, truth: Sequence[float]) -> None:
    assert outcome.ended is None and not outcome.errors
    assert outcome.requests == len(outcome.latencies) == len(truth)
    for percent in (50, 90, 99):
        true = float(np.percentile(truth, percent, method="inverted_cdf"))
        reported = outcome.latencies.percentile(percent)
        assert reported == pytest.approx(true, rel=WITHIN), f"p{percent}"


@pytest.mark.parametrize("stalls", [True, False])
def test_locusts_users_count_from_the_intended_start(generator: GeneratorProcess, stalls: bool) -> None:
    load, warm_up = Arrivals(RATE, SECONDS, seed=3), 0.5
    warming = int(RATE * warm_up)
    spec = Spec(slow_first=warming, stall_at=warming + 120 if stalls else -1)
    outcome = run(generator, spec, load, warm_up)
    truth = spec.truth(list(load.starts()))
    assert max(truth) > 2 if stalls else max(truth) < 2
    check(outcome, truth)


@pytest.mark.parametrize("stalls", [True, False])
def test_loadgens_server_scenario_does_too(generator: GeneratorProcess, tmp_path: Path, stalls: bool) -> None:
    spec = Spec(stall_at=120 if stalls else -1)
    outcome = run(generator, spec, MLPerf("Server", SECONDS, RATE, slo=0.6, folder=str(tmp_path)))
    check(outcome, spec.truth(loadgens_schedule(RATE, outcome.requests)))
    assert (tmp_path / "mlperf_log_detail.txt").is_file() and (tmp_path / "mlperf_log_summary.txt").is_file()
    assert (outcome.verdict or "").startswith("INVALID: Performance constraints satisfied")


def test_failures_are_no_fast_answers(generator: GeneratorProcess) -> None:
    load = Arrivals(100.0, 2.0, "steady")
    spec = Spec(fail_every=4)
    with serving(spec) as url:
        outcome = generator.run(job(url, load))
    assert outcome.requests == 200 and outcome.errors == {"503": 50} and len(outcome.latencies) == 150
    fastest = outcome.latencies.percentile(1)
    assert fastest is not None and fastest > 0.1, "a 503 comes in a millisecond"
    asked, over = (sum(each) for each in zip(*outcome.blocks, strict=True))
    assert asked == 200 and over >= 50, "what failed was not answered within the SLO"


def test_what_is_late_of_the_generator_itself_is_told(generator: GeneratorProcess) -> None:
    with serving(Spec(median=0.001, sigma=0.1)) as url:
        idle = generator.run(job(url, Arrivals(50, 1.0)))
        load = Arrivals(100_000, 0.3)
        flooded = generator.run(job(url, load))
    usual = idle.late.percentile(50)
    assert usual is not None and usual < 0.02  # a busy machine adds its own
    assert "the generator" in (why_invalid(load, flooded) or "")


def test_nobody_there_ends_the_load(generator: GeneratorProcess) -> None:
    outcome = generator.run(job("http://127.0.0.1:1", Closed(4, 30.0)))
    assert outcome.ended is not None and "nobody answers at http://127.0.0.1:1: ConnectionRefusedError" in outcome.ended
    assert len(outcome.latencies) == 0
