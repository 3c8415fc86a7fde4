"""The report's tables: what each architecture came to, and every load that was put on it."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from html import escape

from drawing.tables import NOTHING, Cell, Row, table, text, told
from loadtest.analysis import sample_size as samples
from loadtest.analysis import wording
from loadtest.analysis.findings import Finding, failed, refused, unanswered
from loadtest.report.charts.stages import stage_names, stages_of
from loadtest.report.html_tables import amount, percentile
from loadtest.results import Capacity, Latencies, Point

Column = tuple[str, Callable[[Finding], Cell]]

_LOADS = (
    *("load", *(f"{wording.percent_name(each)}\nms" for each in samples.PERCENTILES), "answers/s", "scenario"),
    *("answers", "refused", "failed", "no answer", "mean\nbatch", "server\ncores", "memory\nMB"),
    *("generator\nCPU", "generator\nlate ms", ""),
)
_SHOWN = (50, 99)
"""The percentiles of `overview`, so that it fits a desktop; `loads` has all, and at which load each is."""
_SCENARIO = _LOADS.index("scenario")


def overview(found: Sequence[Finding]) -> str:
    """What is the same of all, or known of none, is no column."""
    described = (each for each in _described() if len({each[1](one).value for one in found}) > 1)
    words = [("precision", _precision), *_engine(found)]
    columns = [*words, *_measured(found), *described]
    rows = [
        Row([Cell(one.name, one.name, "", one.subject.problem or ""), *(cell(one) for _, cell in columns)], one.number)
        for one in found
    ]
    head = ["architecture", *(head for head, _ in columns)]
    return table("Architectures", head, rows, range(1 + len(words)))


def _precision(one: Finding) -> Cell:
    return text(one.subject.precision)


def _engine(found: Sequence[Finding]) -> list[Column]:
    """What runs it, and in what that computes where it is not the export's precision; no column where nobody says."""
    named = any(one.subject.engine for one in found)
    return [("engine", lambda one: text(wording.engine(one.subject)))] if named else []


def in_common(found: Sequence[Finding]) -> str:
    """What `overview` leaves out because it is the same of all, as a sentence; empty where nothing is."""
    subjects = [one.subject for one in found]
    said = []
    if len({each.image_size for each in subjects}) == 1:
        said.append(f"{subjects[0].image_size} pixels square")
    return f"All are {', '.join(said)}." if said and len(subjects) > 1 else ""


def _measured(found: Sequence[Finding]) -> Iterator[Column]:
    if any(one.capacity for one in found):
        yield "within\nSLO, /s", lambda one: amount(one.capacity.rate if one.capacity else None)
        yield (
            "95 %\ninterval",
            lambda one: Cell(one.capacity.low, _interval(one.capacity), "none") if one.capacity else NOTHING,
        )
    if any(one.dollars_per_million is not None for one in found):
        yield "per\nmillion", lambda one: told(one.dollars_per_million, wording.dollars)
    yield from map(_percentile, _SHOWN)
    yield "most\n/s", lambda one: amount(one.peak)
    if any(one.share is not None for one in found):
        yield "of\nceiling", lambda one: told(one.share, "{:.0%}".format)
    yield "memory\nMB", lambda one: amount(one.memory_mb)


def _percentile(percent: float) -> Column:
    return f"{wording.percent_name(percent)}\nms", lambda one: percentile(_latencies(one), percent)


def _described() -> Iterator[Column]:
    yield "accuracy", lambda one: told(one.subject.accuracy, "{:.1%}".format)
    yield "para-\nmeters", lambda one: told(one.subject.parameters, wording.compact)
    yield "disk\nMB", lambda one: told(one.subject.bytes_on_disk, lambda size: wording.number(size / 1e6))
    yield "input", lambda one: told(one.subject.image_size, str)


def _latencies(one: Finding) -> Latencies:
    return one.light.latencies if one.light else Latencies()


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
    """What was not measured and why, and how many loads must not be believed; empty where all went well."""
    said = [f"<b>{escape(one.name)}</b>: {escape(one.subject.problem)}" for one in found if one.subject.problem]
    for one in found:
        reasons = Counter(_kind(point.invalid) for point in one.points if point.invalid)
        said += [
            f"<b>{escape(one.name)}</b>: {count} of {len(one.points)} loads invalid, {escape(reason)}"
            for reason, count in reasons.items()
        ]
    return f"<ul>{''.join(f'<li>{each}</li>' for each in said)}</ul>" if said else ""


def _kind(reason: str) -> str:
    """Without its figures, which the tables of the loads have."""
    return reason.partition(":")[0]
