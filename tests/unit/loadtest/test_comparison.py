"""What a comparison calls a change: shifts are found, noise is not, and budgets hold what they say."""

import copy
import random
from dataclasses import replace
from statistics import mean

import pytest
from scipy import stats

from loadtest.analysis import significance
from loadtest.analysis.budgets import Budget
from loadtest.analysis.comparison import compare, steps
from loadtest.results import Capacity, Latencies, Point, Run
from tests.support import synthetic_runs as measured

_SERVICE = 0.01


@pytest.mark.parametrize("load", [0.1, 0.7, 0.9])
def test_the_same_service_twice_is_no_change_however_its_queue_bunches(load: float) -> None:
    """Answers by themselves (Fisher's test) are wrong every other time near saturation: so this is not trivial."""
    alone, found = [], []
    for seed in range(25):
        draw = random.Random(seed)
        one, other = (measured.point(draw, _SERVICE, 2 * load / _SERVICE, 10) for _ in range(2))
        for percent in (50, 90, 99):
            found.append(significance.percentiles_differ(one, other, percent) < 0.01)
            one_alone, other_alone = (_without_stretches(each) for each in (one, other))
            alone.append(significance.percentiles_differ(one_alone, other_alone, percent) < 0.01)
    assert mean(found) <= 0.03
    if load > 0.8:
        assert mean(alone) > 0.3


@pytest.mark.parametrize(("percent", "load"), [(50, 0.1), (50, 0.5), (90, 0.5)])
def test_a_tenth_slower_is_found(percent: float, load: float) -> None:
    found = []
    for seed in range(20):
        draw = random.Random(seed)
        one = measured.point(draw, _SERVICE, 2 * load / _SERVICE, 20)
        other = measured.point(draw, 1.1 * _SERVICE, 2 * load / _SERVICE, 20)
        found.append(significance.percentiles_differ(one, other, percent) < 0.01)
    assert mean(found) >= 0.7


def test_a_tail_that_grew_is_found_though_the_middle_stayed() -> None:
    """One answer in thirty takes five times as long: Mann-Whitney's test would shrug."""

    def point(seed: int, slow: float) -> Point:
        draw = random.Random(seed)
        stretches = [Latencies() for _ in range(10)]
        whole = Latencies()
        for index in range(3000):
            seconds = 0.02 * draw.lognormvariate(0, 0.2) * (5 if draw.random() < slow else 1)
            whole.add(seconds)
            stretches[index // 300].add(seconds)
        return Point("steps", "locust", "predict", 30, whole, 3000, 100, stretches=stretches)

    calm, tailed = point(1, 0.0), point(2, 1 / 30)
    assert significance.percentiles_differ(calm, tailed, 99) < 1e-4
    assert significance.percentiles_differ(calm, tailed, 50) > 0.01


@pytest.mark.parametrize(
    "counts", [(3, 100, 12, 110), (0, 50, 0, 60), (40, 400, 60, 380), (1, 2, 1, 2), (900, 1000, 40, 50)]
)
def test_fisher_is_fishers(counts: tuple[int, int, int, int]) -> None:
    slow, of, other_slow, other_of = counts
    wanted = stats.fisher_exact([[slow, of - slow], [other_slow, other_of - other_slow]]).pvalue
    assert significance.fisher(*counts) == pytest.approx(wanted, rel=1e-6)


def test_adjustment_is_benjamini_and_hochbergs() -> None:
    chances = [0.001, 0.9, 0.02, 0.04, 0.0005, 0.3]
    assert significance.adjusted(chances) == pytest.approx(list(stats.false_discovery_control(chances)))
    assert significance.adjusted([]) == []


def test_rates_and_capacities() -> None:
    draw = random.Random(1)
    one, other = (measured.point(draw, _SERVICE, 50, 20) for _ in range(2))
    assert significance.rates_differ(one, other) > 0.01
    half = measured.point(draw, _SERVICE, 25, 20)
    half.offered = 50
    assert significance.rates_differ(one, half) < 1e-4
    sure, higher, unsure = (Capacity(*each, 100, 1000) for each in ((100, 96, 104), (120, 115, 125), (120, 60, 240)))
    assert significance.capacities_differ(sure, higher) < 1e-4
    assert significance.capacities_differ(sure, unsure) > 0.3
    assert significance.capacities_differ(sure, Capacity(0, 0, 0, 100, 10)) == 1


def test_an_unchanged_build_passes_on_every_seed() -> None:
    limits = [Budget.parse(text) for text in ("p50=+5%", "p99=+10%", "throughput=-5%", "errors=+1%", "capacity=-5%")]
    baseline = measured.run(1, seconds=5, networks=3)
    for seed in range(2, 6):
        found = compare(measured.run(seed, seconds=5, networks=3), baseline, limits)
        assert found.passed, (seed, found.over, found.unjudged)
        assert len(found.changes) > 60


def test_a_slower_build_fails_and_says_where() -> None:
    baseline = measured.run(1, networks=8)
    found = compare(measured.run(2, networks=8, slower=1.3), baseline, [Budget.parse("p50=+10%")])
    assert not found.passed
    assert {"mobilenet", "efficientnet_b2"} <= {each.name for each in found.over}
    assert "lenet5" not in {each.name for each in found.over}, "its time is decoding's"
    assert all(each.worse > 0.1 and each.p is not None and each.p < 0.01 for each in found.over)


def test_a_change_within_the_budget_passes() -> None:
    baseline = measured.run(1, networks=5)
    found = compare(measured.run(2, networks=5, slower=1.1), baseline, [Budget.parse("p50=+300%")])
    assert found.passed and any(each.significant for each in found.changes)


def test_requests_that_were_refused_are_no_fast_answers() -> None:
    """One in twenty turned away: what remains is fast, and yet there is no p99 any more."""
    baseline = measured.run(1, networks=2)
    now = copy.deepcopy(baseline)
    point = now.subjects[0].points[2]
    point.requests += len(point.latencies) // 20
    point.errors = {"429": len(point.latencies) // 20}
    found = compare(now, baseline, [Budget.parse("p99=+50%")])
    assert [(each.name, each.after) for each in found.over] == [("lenet5", float("inf"))]
    assert compare(now, baseline, [Budget.parse("p50=+50%")]).passed
    assert [each.metric for each in compare(now, baseline, [Budget.parse("errors=+3%")]).over] == ["errors"]


def test_a_build_that_cannot_be_judged_does_not_pass() -> None:
    baseline = measured.run(1, networks=2)
    elsewhere = measured.run(2, networks=4)
    elsewhere.subjects = elsewhere.subjects[2:]
    found = compare(elsewhere, baseline, [Budget.parse("p99=+10%")])
    assert not found.passed and [str(each) for each in found.unjudged] == ["p99=+10%"]
    assert found.alone == ["mobilenet_v3_small", "mobilenet_v2"] and found.gone == ["lenet5", "mobilenet"]


def test_an_architecture_that_broke_does_not_pass() -> None:
    baseline, now = measured.run(1, networks=3), measured.run(2, networks=3)
    now.subjects[1].points, now.subjects[1].capacity, now.subjects[1].problem = [], None, "the service ended with 139"
    found = compare(now, baseline, [Budget.parse("p50=+50%")])
    assert not found.passed and found.broken == ["mobilenet: the service ended with 139"]
    assert compare(now, baseline).passed, "without a budget a comparison only tells"


def test_overloads_and_invalid_loads_are_not_compared() -> None:
    baseline = measured.run(1, networks=1)
    now = copy.deepcopy(baseline)
    rates = {each.load for each in compare(now, baseline, [Budget.parse("p50=+10%")]).changes}
    now.subjects[0].points[0].invalid = "the generator was late"
    fewer = {each.load for each in compare(now, baseline, [Budget.parse("p50=+10%")]).changes}
    assert len(rates - fewer) == 1
    baseline.subjects[0].points[2].seconds *= 1.5
    assert len(compare(baseline, baseline, [Budget.parse("p50=+10%")]).changes) == len(rates) - 1


def test_who_is_to_be_compared_asks_the_baselines_rates() -> None:
    baseline = measured.run(1, seconds=2, networks=2)
    one, other = baseline.subjects
    assert steps(baseline, one, "predict") == pytest.approx((160, 480, 800, 1120, 1360, 1760))
    assert steps(baseline, one, "oip") == ()
    assert steps(baseline, replace(other, precision="float32"), "predict") == ()
    one.points[1].scenario = "search"
    assert 480 not in map(round, steps(baseline, one, "predict"))


def test_loads_of_a_search_are_not_compared_but_what_it_found() -> None:
    baseline = measured.run(1, seconds=2, networks=1)
    for point in baseline.subjects[0].points:
        point.scenario = "search"
    found = compare(baseline, baseline, [Budget.parse("p50=+10%"), Budget.parse("capacity=-10%")])
    assert {each.metric for each in found.changes} == {"capacity"}


def test_a_file_without_stretches_is_compared_too(tmp_path: object) -> None:
    baseline, now = (_plain(measured.run(seed, networks=2)) for seed in (1, 2))
    assert compare(now, baseline, [Budget.parse("p50=+20%")]).changes


def _plain(run: Run) -> Run:
    for subject in run.subjects:
        subject.points = [_without_stretches(each) for each in subject.points]
    return run


def _without_stretches(point: Point) -> Point:
    plain = copy.copy(point)
    plain.stretches = []
    return plain


@pytest.mark.parametrize(
    ("text", "budget"),
    [
        ("p99=+10%", Budget("p99", 0.1)),
        ("p99.9=10%", Budget("p99.9", 0.1)),
        (" throughput=-2.5% ", Budget("throughput", 0.025)),
        ("errors=+0.5%", Budget("errors", 0.005)),
        ("memory=+0%", Budget("memory", 0.0)),
    ],
)
def test_budgets_are_read(text: str, budget: Budget) -> None:
    assert Budget.parse(text) == budget
    assert Budget.parse(str(budget)) == budget


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("p99", "expected METRIC=CHANGE%, such as p99=+10% or throughput=-5%, got 'p99'"),
        ("p99=10", "expected METRIC=CHANGE%"),
        ("p99=+ten%", "expected METRIC=CHANGE%"),
        ("p98=+10%", "invalid metric 'p98' in 'p98=+10%': expected one of p50, p90, p95, p99, p99.9, errors, memory"),
        ("p99=-10%", "says how much worse a number may be: write p99=+10%"),
        ("throughput=+5%", "write throughput=-5%"),
        ("capacity=5%", "write capacity=-5%"),
    ],
)
def test_budgets_that_are_none_say_how_one_looks(text: str, said: str) -> None:
    with pytest.raises(ValueError) as raised:
        Budget.parse(text)
    assert said in str(raised.value)
