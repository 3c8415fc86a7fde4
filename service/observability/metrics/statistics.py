"""What the series on /metrics say of each version, for clients that ask for numbers instead of a page."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from service.observability.context import OK
from service.types import ModelRef

REQUESTS, STAGES, BATCH_ROWS = "model_server_requests", "model_server_stage_seconds", "model_server_batch_rows"


@dataclass(frozen=True, slots=True)
class Stage:
    """How often a stage was gone through, and the seconds of all times together."""

    count: int = 0
    seconds: float = 0.0

    def __add__(self, other: "Stage") -> "Stage":
        """Of two stages that each request goes through, one after the other."""
        return Stage(max(self.count, other.count), self.seconds + other.seconds)


@dataclass(frozen=True, slots=True)
class Statistics:
    """Since the service started: failed requests, rows and batches that went to the model, and the stages of answered
    requests by the names that /metrics has.
    """

    failed: int = 0
    rows: int = 0
    batches: int = 0
    stages: Mapping[str, Stage] = field(default_factory=dict)

    def find_stage(self, name: str) -> Stage:
        return self.stages.get(name, Stage())


def read_statistics(families: Iterable[Any]) -> dict[ModelRef, Statistics]:
    """`families` are prometheus_client's `Metric`s; what they count for no version is left out."""
    values: dict[ModelRef, dict[tuple[str, str], float]] = {}
    for family in families:
        if family.name not in (REQUESTS, STAGES, BATCH_ROWS):
            continue
        for sample in family.samples:
            labels = sample.labels
            if not labels.get("version") or "le" in labels:
                continue
            kind = labels.get("stage") or ("" if labels.get("code", OK) == OK else "failed")
            of_version = values.setdefault(ModelRef(labels["model"], int(labels["version"])), {})
            of_version[sample.name, kind] = of_version.get((sample.name, kind), 0.0) + sample.value
    return {ref: _build(found) for ref, found in values.items()}


def _build(found: Mapping[tuple[str, str], float]) -> Statistics:
    stages = [stage for name, stage in found if name == f"{STAGES}_count"]
    return Statistics(
        failed=int(found.get((f"{REQUESTS}_total", "failed"), 0)),
        rows=int(found.get((f"{BATCH_ROWS}_sum", ""), 0)),
        batches=int(found.get((f"{BATCH_ROWS}_count", ""), 0)),
        stages={
            stage: Stage(int(found[f"{STAGES}_count", stage]), found.get((f"{STAGES}_sum", stage), 0.0))
            for stage in stages
        },
    )
