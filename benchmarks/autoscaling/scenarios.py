"""A ten-fold step, and what each way of scaling makes of it."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import pairwise

from benchmarks.autoscaling.controller import SYNC, Autoscaler, Spec, from_manifests
from benchmarks.autoscaling.world import Pods, Second, World
from tools.k8s_check.rendering import ROOT, render

BEFORE, AFTER = 120.0, 1320.0  # seconds: the step up, the step down
END = 2400
FACTOR = 10
NODE = 90.0  # seconds for a node to join, where there is none to spare
CAPACITY = 160.0  # requests/s of a pod; the threshold of KEDA's variant is 100
_SLO = 0.25
_CALM = 100.0  # requests/s


@dataclass(frozen=True, slots=True)
class Scenario:
    name: str
    spec: Spec
    pods: Pods


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of the step: seconds until 99 % are answered again (None: never), the share of the first five minutes that was
    refused, the most pods, and how many pods were started again while the load was high and constant.
    """

    scenario: Scenario
    history: list[Second]
    recovered: float | None
    refused: float
    most: int
    again: int


def scenarios(start: float) -> Iterator[Scenario]:
    """`start`: seconds from a pod's creation until it gets traffic."""
    both = from_manifests(render(ROOT / "overlays" / "embedded"))
    keda = from_manifests(render(ROOT / "variants" / "embedded-keda"))
    pods = Pods(CAPACITY, _SLO, start)
    processors = tuple(metric for metric in both.metrics if metric.signal == "processors")
    waiting = tuple(metric for metric in both.metrics if metric.signal == "wait")
    yield Scenario("processors only", replace(both, metrics=processors), pods)
    yield Scenario("waiting only", replace(both, metrics=waiting), pods)
    yield Scenario("components/hpa: both", both, pods)
    yield Scenario("components/keda: offered, waiting", keda, pods)
    yield Scenario("components/hpa, nodes to be added", both, replace(pods, start=start + NODE))
    yield Scenario("components/hpa, minReplicas 5", replace(both, least=5), pods)


def load(second: float) -> float:
    return _CALM * (FACTOR if BEFORE <= second < AFTER else 1)


def play(scenario: Scenario) -> Outcome:
    world, autoscaler = World(scenario.pods, load, scenario.spec.least), Autoscaler(scenario.spec)
    for second in range(END):
        world.step()
        if second % SYNC == 7:  # the step comes somewhere between two looks
            autoscaler.look(world)
    return Outcome(scenario, world.history, *_judge(world.history))


def _judge(history: list[Second]) -> tuple[float | None, float, int, int]:
    high = history[int(BEFORE) : int(AFTER)]
    short = [number for number, second in enumerate(high) if second.answered < 0.99 * second.offered]
    recovered = 0.0 if not short else short[-1] + 1.0 if short[-1] + 1 < len(high) else None
    first = high[:300]
    refused = 1 - sum(second.answered for second in first) / sum(second.offered for second in first)
    settled = high[300:]
    again = sum(max(0, after.pods - before.pods) for before, after in pairwise(settled))
    return recovered, refused, max(second.pods for second in history), again
