"""report.png: the report's main charts on one sheet, for where no page can be shown."""

from collections.abc import Sequence
from html import escape
from pathlib import Path

from drawing.chart import WIDE, Chart
from drawing.document import read_light_looks
from loadtest.analysis import wording
from loadtest.analysis.findings import Finding
from loadtest.report.page import overview_charts
from loadtest.results import Run

_SHOWN = ("capacity", "load", "distribution", "accuracy", "size", "stages-busy", "memory")
_MARGIN, _HEAD, _TITLE, _GAP = 36.0, 92.0, 34.0, 28.0


def write(run: Run, found: Sequence[Finding], path: Path) -> None:
    import font_lato
    import resvg_py

    charts = [chart for chart in overview_charts(found) if chart.key.startswith(_SHOWN)]
    files = [font_lato.font_files[name] for name in ("Lato", "LatoBold")]  # a machine's own fonts may be none
    path.write_bytes(
        bytes(resvg_py.svg_to_bytes(svg_string=_sheet(run, charts), font_files=files, skip_system_fonts=True))
    )


def _sheet(run: Run, charts: Sequence[Chart]) -> str:
    """Two columns, each chart in the one that is shorter by then."""
    heights = [_HEAD, _HEAD]
    parts = []
    for chart in charts:
        column = min((0, 1), key=lambda each: heights[each])
        x, y = _MARGIN + column * (WIDE + 2 * _MARGIN), heights[column]
        parts.append(f'<text x="{x}" y="{y + 16}" class="title">{escape(chart.title)}</text>')
        parts.append(
            f'<svg x="{x}" y="{y + _TITLE}" width="{chart.wide.width}" height="{chart.wide.height}" '
            f'viewBox="0 0 {chart.wide.width} {chart.wide.height}">{chart.wide.inside()}</svg>'
        )
        heights[column] += _TITLE + chart.wide.height + _GAP
    width, height = 2 * WIDE + 4 * _MARGIN, max(heights)
    title = wording.title(run) + (f" ({run.interrupted})" if run.interrupted else "")
    looks = read_light_looks()
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}" font-family="Lato">'
        f"<style>{looks}svg{{font-family:'Lato'}}.title{{font-size:17px;font-weight:bold}}"
        f".head{{font-size:24px;font-weight:bold}}</style>"
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>'
        f'<text x="{_MARGIN}" y="46" class="head">{escape(title)}</text>'
        f'<text x="{_MARGIN}" y="70" class="axis">{run.started:%d %B %Y}. {escape(wording.machine(run))}</text>'
        f"{''.join(parts)}</svg>"
    )
