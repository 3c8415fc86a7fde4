"""The autoscaler's control loop as Kubernetes documents it, and that docs/autoscaling.md says what comes of it now."""

import re
from itertools import pairwise

import pytest

from benchmarks.autoscaling.controller import Autoscaler, Direction, Metric, Policy, Spec, from_manifests
from benchmarks.autoscaling.scenarios import BEFORE, load, play, scenarios
from benchmarks.autoscaling.world import Pods, World
from tools.k8s_check.rendering import ROOT, render

UP = Direction(0, (Policy("Percent", 100, 15), Policy("Pods", 4, 15)))
DOWN = Direction(300, (Policy("Percent", 20, 60),))
PROCESSORS = Metric("processors", 0.5, True)


def world(rate: float, replicas: int, start: float = 10, seconds: int = 120) -> World:
    made = World(Pods(100, 0.25, start), lambda _: rate, replicas)
    for _ in range(seconds):
        made.step()
    return made


def spec(*metrics: Metric, least: int = 1, most: int = 50, up: Direction = UP, down: Direction = DOWN) -> Spec:
    return Spec(least, most, metrics, up, down)


@pytest.mark.parametrize(
    ("rate", "pods"),
    [
        (200, 4),  # all of 2 pods' processors: twice as many for half of them
        (105, 2),  # within the tolerance of a tenth
        (120, 3),
        (5000, 4),  # more than all cannot be used: no ratio above 2
    ],
)
def test_pods_are_as_many_as_the_ratio_says(rate: float, pods: int) -> None:
    seen = world(rate, 2)
    Autoscaler(spec(PROCESSORS)).look(seen)
    assert seen.replicas == pods


def test_a_step_up_is_bounded_within_its_period() -> None:
    seen, autoscaler = world(5000, 2), Autoscaler(spec(Metric("offered", 50, True)))
    steps = []
    for _ in range(4):
        autoscaler.look(seen)
        steps.append(seen.replicas)
        for _ in range(15):
            seen.step()
    assert steps == [6, 12, 24, 48], "four pods, then twice as many"
    autoscaler.look(seen)
    assert seen.replicas == 50, "maxReplicas"


def test_pods_that_are_not_ready_hold_the_next_step_back() -> None:
    seen, autoscaler = world(200, 2, start=1000), Autoscaler(spec(PROCESSORS))
    for _ in range(5):
        autoscaler.look(seen)
        for _ in range(15):
            seen.step()
    assert seen.replicas == 4, "the two that are on their way are expected to help"


def test_the_most_of_the_last_five_minutes_stays_and_then_a_fifth_goes_a_minute() -> None:
    seen, autoscaler = world(500, 10), Autoscaler(spec(PROCESSORS, least=2))
    seen.load = lambda second: 500.0 if second < 150 else 0.0
    pods = []
    for second in range(900):
        seen.step()
        if second % 15 == 0:
            autoscaler.look(seen)
        pods.append(seen.replicas)
    assert pods[300] == 10 and pods[-1] == 2
    assert {later - sooner for sooner, later in pairwise(pods)} == {0, -1, -2}


def test_the_largest_of_the_metrics_counts() -> None:
    seen = world(400, 2)
    Autoscaler(spec(PROCESSORS, Metric("offered", 80, True))).look(seen)
    assert seen.replicas == 5


def test_waiting_grows_with_the_load_and_ends_where_the_slo_does() -> None:
    waits = [world(rate, 1).wait() for rate in (0, 50, 90, 99, 100, 1000)]
    assert waits == sorted(waits) and waits[0] == 0
    assert waits[1] < 0.01 and waits[-1] == pytest.approx(0.25 - 2 * 2 / 100)


def test_the_manifests_autoscalers_are_understood() -> None:
    both = from_manifests(render(ROOT / "overlays" / "embedded"))
    assert [metric.signal for metric in both.metrics] == ["processors", "wait"] and both.least == 2
    keda = from_manifests(render(ROOT / "variants" / "embedded-keda"))
    assert [(metric.signal, metric.each) for metric in keda.metrics] == [("offered", True), ("wait", False)]
    assert (keda.up, keda.down) == (both.up, both.down)
    with pytest.raises(LookupError):
        from_manifests(render(ROOT / "variants" / "kserve"))


def test_the_page_says_what_comes_of_the_manifests_now() -> None:
    page = (ROOT.parent / "docs" / "autoscaling.md").read_text()
    total = re.search(r"\*\*a new pod in all\*\* \| \*\*([\d.]+)\*\*", page)
    assert total is not None
    outcomes = [play(scenario) for scenario in scenarios(float(total[1]))]
    for outcome in outcomes:
        row = next(line for line in page.splitlines() if line.startswith(f"| {outcome.scenario.name} "))
        cells = [cell.strip() for cell in row.split("|")[2:-1]]
        recovered = "never" if outcome.recovered is None else f"{outcome.recovered:.0f} s"
        assert cells == [recovered, f"{outcome.refused:.1%}", str(outcome.most), str(outcome.again)], "make it anew"
    processors, waiting, both, keda, nodes, floor = outcomes
    assert waiting.again > 0 and both.again == keda.again == 0
    assert (processors.recovered or 0) > (both.recovered or 0) and (nodes.recovered or 0) > 2 * (both.recovered or 0)
    assert floor.refused < both.refused / 2
    assert load(BEFORE) == 10 * load(0)
