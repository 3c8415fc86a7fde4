"""A race of engines: each runs a lone image and a batch in turns with the others, and the fastest by both wins.

No engine is the fastest for every network and processor, so nothing is assumed. They take turns, so that a second in
which the machine is busy slows all of them alike.
"""

import math
import time
from collections.abc import Callable, Iterable, Mapping
from statistics import quantiles

from service.errors import ServiceError

LITERT, OPENVINO, TENSORFLOW = "litert", "openvino", "tensorflow"
"""Names of engines."""

MANY = 8
"""Rows of the batch that is measured beside a lone image."""

_MUCH = 1.1  # times another's cost: the lightest engine starts sooner and needs the least memory
_HOPELESS = 2.0  # times the least milliseconds of a lone image: such an engine runs no batch
_PAUSE = 0.002  # seconds before a call: another engine's threads spin for a while when they are done
_LONE_CALLS = 2  # before the first batch
_MOST_TURNS = 50

Call = Callable[[int], object]
"""Runs a batch of so many rows."""

Costs = Mapping[int, float]
"""Rows of a batch -> milliseconds of the whole batch: 1, and MANY where that was measured."""


def measure_in_turns(
    calls: Mapping[str, Call], seconds: float, lanes: int = 1
) -> tuple[dict[str, Costs], dict[str, str]]:
    """Each one's costs, for about `seconds` and one turn at least, and why the others have none.

    The first call of each of `lanes` lays out memory and does not count, unless there is time for no other: that is
    little of a large network's batch. Who needs _HOPELESS times as long for a lone image as the fastest runs no batch.
    """
    until = time.perf_counter() + seconds
    taken: dict[str, dict[int, list[float]]] = {name: {1: [], MANY: []} for name in calls}
    failed: dict[str, str] = {}

    def run(names: Iterable[str], rows: int) -> None:
        for name in names:
            if name not in failed:
                time.sleep(_PAUSE)
                began = time.perf_counter()
                try:
                    calls[name](rows)
                except ServiceError as error:
                    failed[name] = error.message
                taken[name][rows].append(time.perf_counter() - began)

    for _ in range(lanes + _LONE_CALLS):
        run(calls, 1)
    least = min((min(taken[name][1]) for name in calls if name not in failed), default=0.0)
    running = [name for name in calls if min(taken[name][1]) <= _HOPELESS * least]
    for turn in range(_MOST_TURNS):
        if turn and time.perf_counter() > until:
            break
        run(running, MANY)
        run(running, 1)
    return {
        name: {rows: _find_milliseconds(each[lanes:] or each) for rows, each in by_rows.items() if each}
        for name, by_rows in taken.items()
        if name not in failed
    }, failed


def find_cost(costs: Costs) -> float:
    """The geometric mean of the milliseconds of a lone image and of one among MANY; infinite without the latter."""
    return math.sqrt(costs[1] * costs[MANY] / MANY) if MANY in costs else math.inf


def rank(costs: Mapping[str, Costs], light: str) -> list[str]:
    """The fastest first. Those whose names begin with `light` stand before all that are not faster by _MUCH."""
    keyed = {name: find_cost(each) / (_MUCH if name.startswith(light) else 1) for name, each in costs.items()}
    return sorted(keyed, key=lambda name: (keyed[name], not name.startswith(light)))


def describe_costs(costs: Costs) -> str:
    """A few words for a log."""
    alone = f"{costs[1]:.3g} ms alone"
    return f"{alone}, {costs[MANY] / MANY:.3g} ms an image in {MANY}s" if MANY in costs else alone


def _find_milliseconds(taken: list[float]) -> float:
    # Not the median: other work on the machine makes calls slower, and nothing makes one faster.
    return 1000 * (quantiles(taken, n=4, method="inclusive")[0] if len(taken) > 1 else taken[0])
