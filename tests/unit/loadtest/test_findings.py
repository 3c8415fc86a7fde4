"""What a report picks: which loads make a curve, which is the light one, what is shown and what is too few."""

import copy
import itertools
import re
from dataclasses import replace

import pytest

from drawing.canvas import Canvas
from drawing.scales import Linear, Log, Ratio
from loadtest.analysis import sample_size as samples
from loadtest.analysis import wording
from loadtest.analysis.findings import Finding, chart_percentile, failed, findings, kept_up, refused, unanswered
from loadtest.analysis.pooling import merged, pooled
from loadtest.report.charts import bubbles
from loadtest.report.charts.labels import Label, fan
from loadtest.results import Capacity, Latencies, Point, Run, Subject
from tests.support import synthetic_runs as measured


def _first(run: Run) -> Finding:
    return next(one for one in findings(run) if one.subject is run.subjects[0])


@pytest.fixture
def run() -> Run:
    return measured.run(1, networks=2)


def test_a_percentile_needs_the_answers_that_bound_it() -> None:
    """1 - 0.99^299 is the first above 0.95: the longest of 299 answers lies beyond p99 with that certainty."""
    assert [samples.needed(each) for each in samples.PERCENTILES] == [5, 29, 59, 299, 2995]
    some = Latencies()
    for _ in range(298):
        some.add(0.01)
    assert samples.percentile(some, 99) is None and samples.percentile(some, 95) is not None
    some.add(0.02)
    assert samples.percentile(some, 99) is not None and samples.highest(299) == 99


def test_the_light_load_is_a_light_one(run: Run) -> None:
    assert _first(run).light == run.subjects[0].points[0]
    alone = replace(run.subjects[0].points[0], scenario="single_stream", offered=None, concurrency=1)
    run.subjects[0].points.append(alone)
    for point in run.subjects[0].points[:4]:
        point.invalid = "the generator was late"
    assert _first(run).light == alone, "what remains of the open loops is near saturation"


def test_the_busy_load_is_the_last_that_was_kept_up_with(run: Run) -> None:
    points = run.subjects[0].points
    assert not kept_up(points[5])
    run.subjects[0].capacity = None
    assert _first(run).busy == points[4]
    run.subjects[0].capacity = Capacity(900, 810, 1000, 100, 1000)
    assert _first(run).busy == points[2], "800/s, where the SLO allows up to 1,000"


def test_random_arrivals_that_were_all_answered_are_kept_up_with() -> None:
    """100 were expected and 84 came, as they do: nobody fell behind."""
    some = Latencies()
    for _ in range(84):
        some.add(0.01)
    point = Point("steps", "locust", "predict", 10.0, some, 84, 10.0)
    assert kept_up(point)
    assert not kept_up(replace(point, requests=100)), "16 of 100 got no answer"
    assert not kept_up(replace(point, offered=20.0)), "half of what was meant to start did"


def test_a_curve_is_made_of_steps_and_a_search_of_its_own_only_without(run: Run) -> None:
    steps = list(run.subjects[0].points)
    search = [replace(copy.deepcopy(steps[3]), scenario="search") for _ in range(3)]
    run.subjects[0].points += search
    assert _first(run).ramp == steps
    run.subjects[0].points = [replace(steps[0], scenario="search"), *search]
    ramp = _first(run).ramp
    assert [round(point.offered or 0) for point in ramp] == [160, 1120]
    assert len(ramp[1].latencies) == 3 * len(steps[3].latencies), "the same rate, asked three times, is one load"


def test_pooling_keeps_every_count(run: Run) -> None:
    points = [replace(point, offered=100.0) for point in run.subjects[0].points]
    (one,) = pooled(points)
    assert one.requests == sum(point.requests for point in points)
    assert one.latencies == merged([point.latencies for point in points])
    assert one.throughput == pytest.approx(sum(len(p.latencies) for p in points) / sum(p.seconds for p in points))
    assert sum(one.batches.values()) == sum(sum(point.batches.values()) for point in points)
    assert one.stages["decode"] == pytest.approx(1.1)


def test_refusals_errors_and_silence_are_told_apart() -> None:
    errors = {"429": 3, "503 not ready": 2, "RESOURCE_EXHAUSTED": 1, "500": 4, "ConnectionError": 5}
    point = Point("steps", "locust", "predict", 1, Latencies(), 20, 20, errors=errors)
    assert (refused(point), failed(point), unanswered(point)) == (6, 9, 5)


def test_each_protocol_is_a_row_and_the_capacity_is_that_of_the_searched_one(run: Run) -> None:
    subject = run.subjects[0]
    others = [replace(point, protocol="oip") for point in subject.points]
    subject.points += [*others, replace(others[0], scenario="search")]
    rows = {one.name: one.capacity for one in findings(run)}
    assert rows["lenet5 oip"] is subject.capacity and rows["lenet5 predict"] is None


def test_names_are_as_short_as_tells_them_apart() -> None:
    def named(*subjects: tuple[str, int, str]) -> list[str]:
        made = [Subject(model, version, model, precision, 224) for model, version, precision in subjects]
        return wording.names(replace(measured.run(networks=1), subjects=made))

    assert named(("a", 1, "int8"), ("b", 1, "int8")) == ["a", "b"]
    assert named(("a", 1, "int8"), ("a", 2, "float32")) == ["a int8", "a float32"]
    assert named(("a", 1, "int8"), ("a", 2, "int8"), ("b", 1, "int8")) == ["a/1 int8", "a/2 int8", "b"]


def test_cost_is_that_of_the_rate_within_the_slo(run: Run) -> None:
    one = _first(run)
    assert one.capacity is not None
    assert one.dollars_per_million == pytest.approx(0.085 / 3600 / one.capacity.rate * 1e6)
    run.price_per_hour = None
    assert _first(run).dollars_per_million is None


def test_accuracies_of_two_sources_are_never_on_one_chart() -> None:
    run = measured.run(1, seconds=1, networks=6)
    for index, subject in enumerate(run.subjects[:5]):
        subject.accuracy, subject.accuracy_source = 0.6 + index / 20, "ImageNet" if index < 3 else "digits"
    charts = {chart.key: chart.wide.inside() for chart in bubbles.trade_offs(findings(run))}
    shown = {key: {name for name in measured.NETWORKS if f">{name}</text>" in inside} for key, inside in charts.items()}
    assert shown == {
        "accuracy-1": {"lenet5", "mobilenet", "mobilenet_v2"},
        "accuracy-2": {"mobilenet_v3_small", "mobilenet_v3_large"},
    }
    for subject in run.subjects[1:]:
        subject.accuracy = None
    assert [chart.key for chart in bubbles.trade_offs(findings(run))] == ["accuracy-1", "size"]


def test_a_chart_shows_the_percentile_that_its_loads_support(run: Run) -> None:
    assert chart_percentile(findings(run)) == 99
    assert chart_percentile(findings(measured.run(1, seconds=1))) < 99


def test_names_above_a_plot_never_touch() -> None:
    """Twenty-four lines that end at one place: names stay a line's height apart, in order, within the plot."""
    canvas = Canvas(400, 300)
    fan(canvas, [Label((200.0 + each / 100, 50.0), f"name{each}", each) for each in range(24)], 6, 340, 40)
    places = [float(x) for x in re.findall(r'<text class="name [^>]* x="([\d.]+)"', canvas.inside())]
    gaps = [after - before for before, after in itertools.pairwise(places)]
    assert len(places) == 24 and min(gaps) > 12 and places[0] >= 6 and places[-1] <= 345


@pytest.mark.parametrize(
    "scale", [Linear(7.0, 0, 500), Log(0.0012, 3.4, 0, 500), Ratio(0.8, 12, 0, 500), Log(1, 5, 400, 0)]
)
def test_axes_have_ticks_that_lie_on_them(scale: Log | Linear) -> None:
    ticks = scale.ticks()
    assert 3 <= len(ticks) <= 13 and ticks == sorted(ticks)
    places = [scale(tick) for tick in ticks]
    assert all(0 <= place <= 500 for place in places)
    assert min(abs(b - a) for a, b in itertools.pairwise(places)) > 25


@pytest.mark.parametrize(
    ("value", "words"),
    [(0, "0"), (0.01234, "0.0123"), (1.234, "1.23"), (99.96, "100"), (1234.5, "1,234"), (-3.14159, "-3.14")],
)
def test_numbers_have_three_digits(value: float, words: str) -> None:
    assert wording.number(value) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.00085, "850 µs"), (0.0123, "12.3 ms"), (0.99999, "1.00 s"), (1.5, "1.50 s"), (75, "75.0 s")],
)
def test_durations_have_the_unit_that_fits(seconds: float, words: str) -> None:
    assert wording.duration(seconds) == words
