"""report.html: one file that needs no network, for a phone and a desktop, on light and dark screens."""

from collections.abc import Callable, Sequence
from html import escape

from drawing import document
from drawing.chart import NARROW, Chart
from loadtest.analysis import budgets, wording
from loadtest.analysis import sample_size as samples
from loadtest.analysis.comparison import Comparison
from loadtest.analysis.findings import Finding, believable, failed, refused, unanswered
from loadtest.report import sections, verdict
from loadtest.report.charts import bubbles, curves, rows, single, stages
from loadtest.report.charts.changes import changes
from loadtest.results import Run
from service.plurals import format_items

_LEAST: tuple[tuple[Callable[[Finding], float | None], Callable[[float], str], str], ...] = (
    (
        lambda one: one.light.latencies.percentile(50) if one.light else None,
        wording.duration,
        "lowest median at its lightest load",
    ),
    (lambda one: one.dollars_per_million, wording.dollars, "least per million answers"),
    (lambda one: one.memory_mb, lambda memory: f"{wording.number(memory)} MB", "least memory"),
)
"""What the page's cards show the least of: the number, its words, and what it is."""


def overview_charts(found: Sequence[Finding]) -> list[Chart]:
    """In the order in which the page shows them."""
    memory = "Of the service's processes, what they share counted once; the most under any of its loads."
    cpu = "Processor time of the service for one answer, at the heaviest load sustained."
    charts = [
        rows.capacity(found),
        curves.against_load(found),
        curves.distribution(found),
        *bubbles.trade_offs(found),
        stages.stages(found, "stages-light", "Where the time goes at the lightest load", lambda one: one.light),
        stages.stages(found, "stages-busy", "Where it goes at the heaviest load sustained", lambda one: one.busy),
        rows.batches(found),
        rows.amounts(found, "memory", "Memory, MB", memory, lambda one: one.memory_mb),
        rows.amounts(found, "cpu", "Processor time an answer, ms", cpu, _cpu_ms),
    ]
    return [chart for chart in charts if chart is not None]


def _cpu_ms(finding: Finding) -> float | None:
    point = finding.busy
    if point is None or point.server_cpu_seconds is None:
        return None
    return 1000 * point.server_cpu_seconds / len(point.latencies)


def render(run: Run, found: Sequence[Finding], comparison: Comparison | None = None) -> str:
    """`found`: what `findings` made of `run`; `comparison`: of `run` with an older one."""
    title = wording.title(run)
    body = [
        _banner(run),
        f"<h1>{escape(title)}</h1>",
        f'<p class="soft">{run.started:%d %B %Y, %H:%M} UTC. {escape(wording.machine(run))}</p>',
        _cards(found),
        _compared(comparison),
        "<h2>Architectures</h2>",
        f"<p>{_overview_words(found)}</p>",
        sections.overview(found),
        _trouble(found),
        "<h2>Charts</h2>",
        '<p class="soft">Point at a line, a bubble or a row to bring its architecture forward everywhere; '
        "click to hold it.</p>",
        *map(document.render_chart, overview_charts(found)),
        _stages(found),
        "<h2>Every load</h2>",
        "<p>One table an architecture. Times are milliseconds from the intended start.</p>",
        *(_details(one, is_open=len(found) == 1) for one in found),
        _method(run, found),
    ]
    return document.render(title, body)


def _compared(comparison: Comparison | None) -> str:
    if comparison is None:
        return ""
    metrics = dict.fromkeys(each.metric for each in comparison.changes if each.metric in budgets.LATENCIES)
    charts = [changes(comparison.changes, metric) for metric in metrics]
    return verdict.in_html(comparison, "".join(document.render_chart(chart) for chart in charts if chart is not None))


def _banner(run: Run) -> str:
    if not run.interrupted:
        return ""
    words = f"<b>This run was interrupted</b>: {escape(run.interrupted)}. What was measured until then follows."
    return f'<div class="banner" role="alert"><p>{words}</p></div>'


def _cards(found: Sequence[Finding]) -> str:
    said = []
    able = [(one.capacity, one) for one in found if one.capacity is not None]
    if able:
        most, best = max(able, key=lambda each: each[0].rate)
        said.append((f"{wording.number(most.rate)}/s", f"highest rate with p99 within {most.slo_ms:g} ms: {best.name}"))
    for pick, words, what in _LEAST:
        if known := [(value, one) for one in found if (value := pick(one)) is not None]:
            value, best = min(known, key=lambda each: each[0])
            said.append((words(value), f"{what}: {best.name}"))
    cards = "".join(f'<div class="card"><b>{escape(a)}</b><span>{escape(b)}</span></div>' for a, b in said)
    return f'<div class="cards">{cards}</div>' if cards else ""


def _method(run: Run, found: Sequence[Finding]) -> str:
    points = [point for one in found for point in one.points]
    answers = sum(len(point.latencies) for point in points)
    lost = [
        f"{sum(map(count, points)):,} {what}"
        for count, what in ((refused, "refused"), (failed, "failed"), (unanswered, "never answered"))
    ]
    protocols = ", ".join(dict.fromkeys(point.protocol for point in points)) or "none"
    tools = ", ".join(dict.fromkeys(wording.tool(point.tool) for point in points)) or "none"
    invalid = sum(not believable(point) for point in points)
    facts = {
        "measured": run.service,
        "loads": f"{len(points)} by {tools}, over {protocols}; {invalid or 'none'} of them invalid"
        + (", in no figure and no chart" if invalid else ""),
        "requests": f"{sum(point.requests for point in points):,}: {answers:,} answered, {', '.join(lost)}",
        **{key.replace("_", " "): value for key, value in run.method.items()},
    }
    if run.price_per_hour is not None:
        facts["price"] = f"{wording.dollars(run.price_per_hour)} an hour"
    rules = (
        "<li>A latency counts from the moment at which its request was <b>meant</b> to start, so a stall of the "
        "server is charged to every request that it kept waiting.</li>"
        "<li>Warm-up is left out. Refusals and errors are counted and are no answers: they have no latency.</li>"
        "<li>A load at which the generator itself was too slow is invalid, and says so.</li>"
        f"<li>A percentile is shown where enough answers bound it: {samples.needed(99)} for p99, "
        f"{samples.needed(99.9):,} for p99.9. Otherwise it says <i>too few</i>. Times are kept in steps of 1 %.</li>"
    )
    lists = f'<div class="columns">{document.render_list(facts)}{document.render_list(run.machine)}</div>'
    return f"<h2>How it was measured</h2><ul>{rules}</ul>{lists}"


def _trouble(found: Sequence[Finding]) -> str:
    said = sections.problems(found)
    return f"<h3>What went wrong</h3>{said}" if said else ""


def _overview_words(found: Sequence[Finding]) -> str:
    light = [one.light for one in found if one.light is not None]
    rates = [point.offered for point in light if point.offered]
    words = "Percentiles are those at each architecture's lightest load"
    if rates:
        words += f" ({wording.number(min(rates))} to {wording.number(max(rates))} requests/s)"
    if any(one.capacity for one in found):
        words += '. "Within SLO" is the highest rate that keeps p99 within it'
    sources = dict.fromkeys(one.subject.accuracy_source for one in found if one.subject.accuracy is not None)
    words += f". Accuracy: {escape(', '.join(map(str, sources)))}" if sources else ". Accuracies are not known"
    return f"{words}. {sections.in_common(found)} Click a column to sort by it."


def _stages(found: Sequence[Finding]) -> str:
    made = sections.stage_table(found)
    return f"<details><summary>Stages in milliseconds</summary><div>{made}</div></details>" if made else ""


def _details(finding: Finding, is_open: bool) -> str:
    invalid = sum(point.invalid is not None for point in finding.points)
    said = [f"{wording.number(finding.capacity.rate)}/s within the SLO"] if finding.capacity else []
    said += [format_items(len(finding.points), "load")] + ([f"{invalid} invalid"] if invalid else [])
    words = ", ".join(said)
    problem = f'<p class="bad">{escape(finding.subject.problem)}</p>' if finding.subject.problem else ""
    content = sections.loads(finding) if finding.points else ""
    return (
        f'<details data-architecture="{escape(finding.name)}"{" open" if is_open else ""}>'
        f"<summary>{escape(finding.name)} <span>{words}</span></summary>"
        f"<div>{problem}{_pair(finding)}{content}</div></details>"
    )


def _pair(finding: Finding) -> str:
    drawn = {
        "Latency against load": single.percentiles(finding, NARROW),
        "Where the time goes": stages.by_load(finding, NARROW),
    }
    figures = [
        f"<figure><figcaption><h3>{title}</h3></figcaption>{canvas.svg(f'{title}: {finding.name}')}</figure>"
        for title, canvas in drawn.items()
        if canvas is not None
    ]
    return f'<div class="pair">{"".join(figures)}</div>' if figures else ""
