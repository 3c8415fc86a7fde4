"""A comparison in words: for a terminal, and as a section of the page."""

from collections.abc import Sequence
from html import escape
from math import isfinite

from drawing.tables import Cell, Row, table, text
from loadtest.analysis import budgets, wording
from loadtest.analysis.comparison import Change, Comparison
from loadtest.markdown import markdown
from service.plurals import format_items

_HEAD = ("architecture", "number", "change", "before", "after", "load", "p", "budget")
_MOST_LINES, _MOST_ROWS = 20, 20


def in_words(comparison: Comparison) -> str:
    """For a terminal: the verdict, and what it rests on."""
    lines = [_summary(comparison), *_complaints(comparison)]
    shown = comparison.over or [each for each in comparison.changes if _stands_out(each)]
    if shown:
        worst = sorted(shown, key=lambda each: -each.worse)[:_MOST_LINES]
        lines += ["", markdown(_HEAD, [_words(each) for each in worst], text=(0, 1, 5))]
        if len(shown) > len(worst):
            lines.append(f"... and {len(shown) - len(worst)} more in the report")
    return "\n".join(lines)


def in_html(comparison: Comparison, charts: str) -> str:
    """A section of the page, with `charts` (HTML) behind the verdict."""
    complaints = "".join(f"<li>{escape(each)}</li>" for each in _complaints(comparison))
    found = sorted(comparison.changes, key=lambda each: (not each.over_budget, not _stands_out(each), -each.worse))
    changed = [each for each in found if _stands_out(each)]
    first = (comparison.over or changed)[:_MOST_ROWS]
    title = "Past the budget" if comparison.over else "Largest changes"
    css = ("good" if comparison.passed else "bad") if comparison.budgets else ""
    everything = f"{format_items(len(found), 'number')}, {len(changed) or 'none'} of them changed"
    return (
        f'<h2>Against the baseline</h2><p class="{css}"><b>{escape(_summary(comparison))}</b></p>'
        + (f"<ul>{complaints}</ul>" if complaints else "")
        + charts
        + (f"<h3>{title}</h3>{_table(title, first)}" if first else "")
        + f"<details><summary>Everything compared <span>{everything}</span></summary>"
        + f"<div>{_table('Everything compared', found)}</div></details>"
    )


def _summary(comparison: Comparison) -> str:
    architectures = len({each.subject for each in comparison.changes})
    compared = f"{format_items(len(comparison.changes), 'number')} of {format_items(architectures, 'architecture')}"
    since = f"the run of {comparison.baseline.started:%d %B %Y, %H:%M} UTC"
    changed = sum(each.significant and each.p is not None for each in comparison.changes)
    words = f"Compared with {since}: {compared}, {changed or 'none'} changed significantly"
    if not comparison.budgets:
        return f"{words}."
    limits = ", ".join(map(str, comparison.budgets))
    if comparison.passed:
        return f"{words}. Within the budget ({limits})."
    return f"{words}. Past the budget ({limits}): {len(comparison.over) or 'see below'}."


def _complaints(comparison: Comparison) -> list[str]:
    said = [f"no longer measured: {each}" for each in comparison.broken]
    said += [
        f"{budget} held nothing: the two runs share no valid load with enough answers for {budget.metric}; "
        "measure the baseline's architectures at the baseline's rates"
        for budget in comparison.unjudged
    ]
    if comparison.alone:
        said.append(f"not in the baseline: {', '.join(comparison.alone)}")
    if comparison.gone:
        said.append(f"only in the baseline: {', '.join(comparison.gone)}")
    return said


def _stands_out(each: Change) -> bool:
    return each.over_budget or (each.significant and each.p is not None)


def _table(caption: str, some: Sequence[Change]) -> str:
    return table(caption, _HEAD, map(_row, some), (0, 1, 5, 7))


def _row(each: Change) -> Row:
    name, metric, change, before, after, load, p, budget = _words(each)
    css = "bad" if each.over_budget else ""
    cells = [
        Cell(name, name),
        text(metric),
        Cell(each.worse, change, css),
        Cell(each.before, before),
        Cell(each.after, after, css),
        text(load),
        Cell(each.p, p),
        text(budget, "text bad" if each.over_budget else "text none"),
    ]
    return Row(cells, each.subject)


def _words(each: Change) -> tuple[str, ...]:
    budget = "" if each.budget is None else f"{each.budget}" + (" exceeded" if each.over_budget else "")
    before, after = (_figure(each.metric, value) for value in (each.before, each.after))
    p = "once" if each.p is None else "< 0.0001" if each.p < 0.0001 else f"{each.p:.4f}"
    return each.name, each.metric, _change(each), before, after, each.load, p, budget


def _change(each: Change) -> str:
    change = each.worse if not budgets.falls(each.metric) else -each.worse
    if not isfinite(change):
        return "lost"
    return f"{100 * change:+.1f} %" + (" points" if each.metric == budgets.ERRORS else "")


def _figure(metric: str, value: float) -> str:
    if metric in budgets.LATENCIES:
        return f"{wording.milliseconds(value)} ms" if isfinite(value) else "no answer"
    if metric == budgets.ERRORS:
        return wording.share(value, 1)
    return f"{wording.number(value)} {'MB' if metric == budgets.MEMORY else '/s'}"
