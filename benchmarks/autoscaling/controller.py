"""Kubernetes' HorizontalPodAutoscaler as its documentation describes it, on the very objects that k8s/ applies.

Every 15 seconds: each metric proposes a number of pods, the largest counts, `behavior` bounds the step. KEDA's
ScaledObject becomes such an autoscaler with external metrics.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from math import ceil
from typing import Any, Literal

from benchmarks.autoscaling.world import World

SYNC = 15.0  # seconds between two looks
_TOLERANCE = 0.1  # a ratio this near 1 changes nothing

Signal = Literal["processors", "wait", "offered"]


@dataclass(frozen=True, slots=True)
class Metric:
    """`target` of the signal: a share, seconds, or requests/s; `each` where it is of one pod, not of all together."""

    signal: Signal
    target: float
    each: bool


@dataclass(frozen=True, slots=True)
class Policy:
    """How far a step may go within `period` seconds."""

    kind: Literal["Pods", "Percent"]
    value: int
    period: float


@dataclass(frozen=True, slots=True)
class Direction:
    stabilization: float
    policies: tuple[Policy, ...]


@dataclass(frozen=True, slots=True)
class Spec:
    least: int
    most: int
    metrics: tuple[Metric, ...]
    up: Direction
    down: Direction


@dataclass
class Autoscaler:
    """Owns what it has recommended and done, which its windows look back upon."""

    spec: Spec
    _said: list[tuple[float, int]] = field(default_factory=list)
    _done: list[tuple[float, int]] = field(default_factory=list)

    def look(self, world: World) -> None:
        now, pods = world.now, world.replicas
        wanted = max(_proposal(metric, world) for metric in self.spec.metrics)
        self._said = [(when, said) for when, said in self._said if now - when < self.spec.down.stabilization]
        self._said.append((now, wanted))
        if wanted < pods:
            wanted = min(pods, max(said for _, said in self._said))
        if wanted > pods:
            wanted = min(wanted, max(self._bound(policy, now, pods, 1) for policy in self.spec.up.policies))
        elif wanted < pods:
            wanted = max(wanted, min(self._bound(policy, now, pods, -1) for policy in self.spec.down.policies))
        wanted = min(max(wanted, self.spec.least), self.spec.most)
        if wanted != pods:
            self._done.append((now, wanted - pods))
            world.scale(wanted)

    def _bound(self, policy: Policy, now: float, pods: int, sign: int) -> int:
        lately = sum(change for when, change in self._done if now - when < policy.period and change * sign > 0)
        start = pods - lately
        if policy.kind == "Pods":
            return start + sign * policy.value
        bound = start * (1 + sign * policy.value / 100)
        return ceil(bound) if sign > 0 else int(bound)


def _proposal(metric: Metric, world: World) -> int:
    pods, ready = world.replicas, world.ready()
    if metric.signal == "offered":
        total = world.offered()
        ratio = total / (metric.target * pods)
        return pods if abs(ratio - 1) <= _TOLERANCE else ceil(total / metric.target)
    value = world.processors() if metric.signal == "processors" else world.wait()
    ratio = value / metric.target
    if not metric.each:
        return pods if abs(ratio - 1) <= _TOLERANCE else ceil(ratio * ready)
    if ratio > 1:  # pods that are not ready are taken to use nothing: they will help soon
        ratio = max(1.0, value * ready / pods / metric.target)
    return pods if abs(ratio - 1) <= _TOLERANCE else ceil(ratio * pods)


def from_manifests(manifests: Iterable[dict[str, Any]]) -> Spec:
    """The gateway's autoscaler among them. Raises LookupError where there is none."""
    for manifest in manifests:
        if manifest["metadata"]["name"] == "gateway":
            spec = manifest.get("spec", {})
            if manifest["kind"] == "HorizontalPodAutoscaler":
                metrics = tuple(map(_hpa_metric, spec["metrics"]))
                return _spec(spec["minReplicas"], spec["maxReplicas"], metrics, spec["behavior"])
            if manifest["kind"] == "ScaledObject":
                metrics = tuple(map(_keda_metric, spec["triggers"]))
                behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
                return _spec(spec["minReplicaCount"], spec["maxReplicaCount"], metrics, behavior)
    raise LookupError("no autoscaler of the gateway")


def _hpa_metric(metric: dict[str, Any]) -> Metric:
    if metric["type"] == "ContainerResource":
        return Metric("processors", metric["containerResource"]["target"]["averageUtilization"] / 100, True)
    assert metric["pods"]["metric"]["name"] == "model_server_queue_wait_seconds"
    return Metric("wait", _quantity(metric["pods"]["target"]["averageValue"]), True)


def _keda_metric(trigger: dict[str, Any]) -> Metric:
    signal: Signal = "offered" if "offered" in trigger["metadata"]["query"] else "wait"
    return Metric(signal, float(trigger["metadata"]["threshold"]), trigger["metricType"] == "AverageValue")


def _spec(least: int, most: int, metrics: tuple[Metric, ...], behavior: dict[str, Any]) -> Spec:
    return Spec(least, most, metrics, _direction(behavior["scaleUp"]), _direction(behavior["scaleDown"]))


def _direction(given: dict[str, Any]) -> Direction:
    policies = tuple(Policy(one["type"], one["value"], one["periodSeconds"]) for one in given["policies"])
    return Direction(given["stabilizationWindowSeconds"], policies)


def _quantity(text: str) -> float:
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)
