"""The report's tables: what each architecture came to, and every load that was put on it."""

from collections.abc import Sequence
from html import escape

from loadtest.report import samples, wording
from loadtest.report.charts.stages import stage_names, stages_of
from loadtest.report.findings import Finding, failed, refused, unanswered
from loadtest.report.tables import NOTHING, Cell, Row, amount, percentile, table, text, told
from loadtest.results import Capacity, Point

_OVERVIEW = (
    *("architecture", "within\nSLO, /s", "95 %\ninterval", "per\nmillion"),
    *(f"{wording.percent_name(each)}\nms" for each in samples.PERCENTILES),
    *("of\nanswers", "most\n/s", "memory\nMB", "accu-\nracy", "para-\nmeters", "disk\nMB", "input", "precision"),
)
_LOADS = (
    *("load", *(f"{wording.percent_name(each)}\nms" for each in samples.PERCENTILES), "answers/s", "scenario"),
    *("answers", "refused", "failed", "no answer", "mean\nbatch", "server\ncores", "memory\nMB"),
    *("generator\nCPU", "generator\nlate ms", ""),
)
_SCENARIO = _LOADS.index("scenario")


def overview(found: Sequence[Finding]) -> str:
    return table("Architectures", _OVERVIEW, map(_summary, found), (0, len(_OVERVIEW) - 1))


def _summary(finding: Finding) -> Row:
    subject, light = finding.subject, finding.light
    latencies = light.latencies if light else None
    capacity = finding.capacity
    size = subject.bytes_on_disk / 1e6 if subject.bytes_on_disk is not None else None
    cells = [
        Cell(finding.name, finding.name, "", "" if subject.problem is None else "(problem)"),
        amount(capacity.rate if capacity else None),
        Cell(capacity.low, _interval(capacity), "none") if capacity else NOTHING,
        told(finding.dollars_per_million, wording.dollars),
        *(percentile(latencies, each) for each in samples.PERCENTILES),
        told(None if latencies is None else len(latencies), "{:,}".format),
        amount(finding.peak),
        amount(finding.memory_mb),
        told(subject.accuracy, "{:.1%}".format),
        told(subject.parameters, wording.compact),
        amount(size),
        told(subject.image_size, str),
        text(subject.precision),
    ]
    return Row(cells, finding.number)


def _interval(capacity: Capacity) -> str:
    return f"{wording.number(capacity.low)} - {wording.number(capacity.high)}"


def loads(finding: Finding) -> str:
    """Every load on one architecture, the invalid ones with their reason."""
    return table(f"Loads on {finding.name}", _LOADS, map(_load, finding.points), (0, _SCENARIO, len(_LOADS) - 1))


def _load(point: Point) -> Row:
    batches = sum(point.batches.values())
    images = sum(size * count for size, count in point.batches.items())
    cores = (
        point.server_cpu_seconds / point.seconds if point.server_cpu_seconds is not None and point.seconds > 0 else None
    )
    generator = point.generator_cpu_share
    cells = [
        Cell(point.offered or float(point.concurrency or 0), wording.load(point)),
        *(percentile(point.latencies, each) for each in samples.PERCENTILES),
        amount(point.throughput if point.seconds > 0 else None),
        text(f"{wording.scenario(point)}, {wording.tool(point.tool)}"),
        Cell(len(point.latencies), f"{len(point.latencies):,}"),
        *(_count(count) for count in (refused(point), failed(point), unanswered(point))),
        amount(images / batches if batches else None),
        amount(cores),
        amount(point.server_memory_mb),
        NOTHING if generator is None else Cell(generator, f"{100 * generator:.0f} %"),
        amount(point.generator_late_ms),
        Cell(point.invalid or "", _remark(point), "reason bad" if point.invalid else "reason"),
    ]
    return Row(cells, css="invalid" if point.invalid else "")


def _count(count: int) -> Cell:
    return Cell(count, f"{count:,}", "bad" if count else "none")


def _remark(point: Point) -> str:
    said = [f"invalid: {point.invalid}"] if point.invalid else []
    if point.verdict:
        said.append(f"LoadGen says {point.verdict}")
    if point.errors:
        worst = sorted(point.errors.items(), key=lambda one: -one[1])
        said.append(", ".join(f"{count:,} x {what}" for what, count in worst))
    return "; ".join(said)


def stage_table(found: Sequence[Finding]) -> str:
    """Milliseconds of each stage at the lightest load and the heaviest that was kept up with."""
    rows = [
        (one, name, point)
        for one in found
        for name, point in (("lightest", one.light), ("heaviest", one.busy))
        if point is not None and stages_of(point)
    ]
    if not rows:
        return ""
    kinds = stage_names(point for _, _, point in rows)
    head = ["architecture", "load", *(f"{kind}\nms" for kind in kinds), "all\nms"]
    return table(
        "Stages",
        head,
        [
            Row(
                [
                    text(one.name, ""),
                    Cell(point.offered or 0.0, wording.load(point), "", name),
                    *(amount(stages_of(point).get(kind)) for kind in kinds),
                    amount(sum(stages_of(point).values())),
                ],
                one.number,
            )
            for one, name, point in rows
        ],
    )


def problems(found: Sequence[Finding]) -> str:
    """What was not measured and why, and what must not be believed; empty where all went well."""
    said = [
        f"<li><b>{escape(one.name)}</b>: {escape(one.subject.problem)}</li>" for one in found if one.subject.problem
    ]
    for one in found:
        said += [
            f"<li><b>{escape(one.name)}</b> at {escape(wording.load(each))} ({escape(wording.scenario(each))}): "
            f"{escape(each.invalid)}</li>"
            for each in one.points
            if each.invalid
        ]
    return f"<ul>{''.join(said)}</ul>" if said else ""
