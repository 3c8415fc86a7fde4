"""A deployment under a load, second by second: what its pods answer, and what is known of it, when.

A pod answers up to `capacity` requests/s within the SLO and refuses the rest at once, as the service does.
What is measured of that arrives late: metrics have intervals and windows, pods have to start.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

Load = Callable[[float], float]
"""Seconds -> requests/s."""

_SLOTS = 2
SCRAPE = 5.0  # seconds, the ServiceMonitor's
WINDOW = 60.0  # seconds, of the rates in k8s/observability/rules.yaml
EVALUATION = 15.0  # seconds, of their group
PROCESSORS = 15.0  # seconds: the metrics server looks that often, and tells the average since its last look


@dataclass(frozen=True, slots=True)
class Pods:
    """`capacity` in requests/s of one; `slo` and `start` in seconds: from its creation until it gets traffic."""

    capacity: float
    slo: float
    start: float


@dataclass(slots=True)
class Second:
    """What happened in one: requests/s, pods, the mean wait in seconds, the share of the ready pods' processors."""

    offered: float
    answered: float
    ready: int
    pods: int
    wait: float
    busy: float


@dataclass
class World:
    """Owns the pods and what has happened to them so far."""

    kind: Pods
    load: Load
    replicas: int
    history: list[Second] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._ready_at = [0.0] * self.replicas

    @property
    def now(self) -> float:
        return float(len(self.history))

    def scale(self, replicas: int) -> None:
        """The youngest go first, those that have not started among them."""
        self._ready_at = self._ready_at[:replicas]
        self._ready_at += [self.now + self.kind.start] * (replicas - len(self._ready_at))
        self.replicas = replicas

    def step(self) -> None:
        ready = sum(moment <= self.now for moment in self._ready_at)
        offered, able = self.load(self.now), ready * self.kind.capacity
        answered = min(offered, able)
        busy = answered / able if able else 0.0
        wait = _wait(offered / able if able else 2.0, self.kind)
        self.history.append(Second(offered, answered, ready, self.replicas, wait, busy))

    def ready(self) -> int:
        return self.history[-1].ready

    def processors(self) -> float:
        """Mean share in use of the ready pods' processors, as the metrics server knows it now."""
        looked = self.now - self.now % PROCESSORS
        return _mean([second.busy for second in self._between(looked - PROCESSORS, looked)])

    def offered(self) -> float:
        """Requests/s, as the recording rule has it now."""
        end = _last_look(self.now)
        return _mean([second.offered for second in self._between(end - WINDOW, end)])

    def wait(self) -> float:
        """Seconds, the mean over the answers, as the recording rule has it now."""
        end = _last_look(self.now)
        window = self._between(end - WINDOW, end)
        answers = sum(second.answered for second in window)
        return sum(second.wait * second.answered for second in window) / answers if answers else 0.0

    def _between(self, start: float, end: float) -> Sequence[Second]:
        return self.history[max(0, int(start)) : max(1, int(end))]


def _last_look(now: float) -> float:
    evaluated = now - now % EVALUATION
    return evaluated - evaluated % SCRAPE


def _wait(load: float, kind: Pods) -> float:
    """Mean seconds in the queue of a pod at `load` of its capacity: constant service times, Poisson arrivals (Allen and
    Cunneen), and never longer than what the SLO leaves: past that requests are refused.
    """
    service = _SLOTS / kind.capacity
    longest = max(0.0, kind.slo - 2 * service)
    if load >= 1:
        return longest
    waiting: float = service / (2 * _SLOTS) * load ** ((2 * (_SLOTS + 1)) ** 0.5) / (1 - load)
    return min(longest, waiting)


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
