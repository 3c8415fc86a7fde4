"""report.csv: a row a load, for whoever wants to draw something else."""

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from loadtest.analysis import sample_size as samples
from loadtest.analysis import wording
from loadtest.analysis.findings import Finding, failed, refused, unanswered
from loadtest.results import Point, Run


def write(run: Run, found: Sequence[Finding], path: Path) -> None:
    """Times in milliseconds; what is not known, or not from enough answers, is empty."""
    points = [(one, point) for one in found for point in (*one.points, *([] if one.points else [None]))]
    stages = list(dict.fromkeys(name for _, point in points if point is not None for name in point.stages))
    lines = [_line(run, one, point, stages) for one, point in points]
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(lines[0]) if lines else ["model"])
        writer.writeheader()
        writer.writerows(lines)


def _line(run: Run, one: Finding, point: Point | None, stages: Sequence[str]) -> dict[str, Any]:
    subject, capacity = one.subject, one.capacity
    line: dict[str, Any] = {
        "model": subject.model,
        "version": subject.version,
        "architecture": subject.architecture,
        "precision": subject.precision,
        "engine": subject.engine,
        "engine_precision": subject.engine_precision,
        "macs": subject.macs,
        "ceiling_gmacs_per_second": subject.ceiling,
        "share_of_ceiling": one.share,
        "image_size": subject.image_size,
        "parameters": subject.parameters,
        "bytes_on_disk": subject.bytes_on_disk,
        "accuracy": subject.accuracy,
        "rate_within_slo": capacity and capacity.rate,
        "rate_within_slo_low": capacity and capacity.low,
        "rate_within_slo_high": capacity and capacity.high,
        "slo_ms": capacity and capacity.slo_ms,
        "dollars_per_million": one.dollars_per_million,
        "problem": subject.problem,
        "run_interrupted": run.interrupted,
    }
    return line | _columns(point, stages)


def _columns(point: Point | None, stages: Sequence[str]) -> dict[str, Any]:
    names = ["scenario", "tool", "protocol", "offered", "concurrency", "seconds", "requests", "invalid"]
    names += ["server_cpu_seconds", "server_memory_mb", "generator_cpu_share", "generator_late_ms", "verdict"]
    line: dict[str, Any] = {name: getattr(point, name, None) for name in names}
    line["answers"] = point and len(point.latencies)
    line["answers_per_second"] = point.throughput if point and point.seconds > 0 else None
    for count in (refused, failed, unanswered):
        line[count.__name__] = count(point) if point else None
    for percent in samples.PERCENTILES:
        seconds = samples.percentile(point.latencies, percent) if point else None
        line[f"{wording.percent_name(percent)}_ms"] = seconds and round(1000 * seconds, 4)
    for name in stages:
        line[f"stage_{name}_ms"] = point.stages.get(name) if point else None
    batches = sum(point.batches.values()) if point else 0
    line["mean_batch"] = sum(n * count for n, count in point.batches.items()) / batches if point and batches else None
    return line
