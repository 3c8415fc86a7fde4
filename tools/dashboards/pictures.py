"""`python -m tools.dashboards.pictures`: the dashboard's panels as pictures in docs/images, without a Grafana.

The queries are the dashboard's own, asked of a real Prometheus that watched services under a load of every kind; only
the drawing is matplotlib's.
"""

import argparse
import json
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import ceil
from pathlib import Path
from typing import Any

from tools.dashboards.prometheus import Prometheus, Series

_DOCS = Path(__file__).parents[2] / "docs" / "images"
_ACROSS = 3
_BINARY = ("B", "KiB", "MiB", "GiB")


@dataclass(frozen=True, slots=True)
class Drawn:
    """A panel with what its queries found: legend -> series."""

    title: str
    unit: str
    stack: bool
    lines: Mapping[str, Series]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tools.dashboards.pictures", description=__doc__)
    parser.add_argument("--repository", type=Path, default=Path("model_repository"), help="a folder with lenet5/1")
    parser.add_argument("--seconds", type=float, default=180.0, help="of load (180)")
    parser.add_argument("--images", type=Path, default=_DOCS, help="folder to write to (docs/images)")
    given = parser.parse_args()
    from tools.dashboards.documents import DASHBOARD
    from tools.dashboards.rehearsal import perform, rehearsal

    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    with rehearsal(given.repository) as (prometheus, stage):
        began = time.time()
        print(f"{given.seconds:g} s of load ...", flush=True)
        perform(stage, given.seconds)
        ended = time.time()
        for number, (title, row) in enumerate(_rows(panels)):
            drawn = [_ask(prometheus, panel, began, ended) for panel in row]
            if drawn:
                path = given.images / f"dashboard-{number}.png"
                _draw(title, drawn, began, path)
                print(path)


def _rows(panels: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, list[Mapping[str, Any]]]]:
    """Title -> its panels that have lines to draw."""
    title, row = "", list[Mapping[str, Any]]()
    for panel in panels:
        if panel["type"] == "row":
            if title:
                yield title, row
            title, row = panel["title"], []
        elif panel["type"] == "timeseries":
            row.append(panel)
    yield title, row


def _ask(prometheus: Prometheus, panel: Mapping[str, Any], began: float, ended: float) -> Drawn:
    from tools.dashboards.__main__ import concrete

    lines = {}
    for target in panel["targets"]:
        for series in prometheus.range(concrete(target["expr"], "15s"), began + 5, ended):
            lines[_legend(target["legendFormat"], series)] = series
    stacked = panel["fieldConfig"]["defaults"]["custom"]["stacking"]["mode"] == "normal"
    return Drawn(panel["title"], panel["fieldConfig"]["defaults"]["unit"], stacked, lines)


def _legend(form: str, series: Series) -> str:
    return re.sub(r"{{(\w+)}}", lambda found: series.labels.get(found[1], ""), form).strip() or "all"


def _draw(title: str, panels: Sequence[Drawn], began: float, path: Path) -> None:
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    height = ceil(len(panels) / _ACROSS)
    figure, axes = pyplot.subplots(
        height, _ACROSS, figsize=(14, 2.9 * height), layout="constrained", squeeze=False, sharex=True
    )
    for axis, panel in zip(axes.flat, panels, strict=False):
        _draw_one(axis, panel, began)
    for axis in list(axes.flat)[len(panels) :]:
        axis.set_axis_off()
    figure.suptitle(title, x=0.01, ha="left", weight="bold")
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=80)
    pyplot.close(figure)


def _draw_one(axis: Any, panel: Drawn, began: float) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    moments = sorted({when for series in panel.lines.values() for when, _ in series.points})
    floor = [0.0] * len(moments)
    for legend, series in sorted(panel.lines.items(), key=lambda line: (line[0] != "OK", line[0])):
        at = dict(series.points)
        if panel.stack:
            top = [below + at.get(when, 0.0) for below, when in zip(floor, moments, strict=True)]
            axis.fill_between([when - began for when in moments], floor, top, label=legend, alpha=0.7, linewidth=0)
            floor = top
        else:
            axis.plot([when - began for when in at], list(at.values()), label=legend, linewidth=1.5)
    axis.set_title(panel.title, fontsize=10, loc="left")
    axis.set_ylim(bottom=0, top=max(1.35 * axis.get_ylim()[1], 1e-9))  # room for the legend
    axis.yaxis.set_major_locator(MaxNLocator(5))
    axis.grid(alpha=0.25)
    axis.tick_params(labelsize=8)
    axis.xaxis.set_major_formatter(FuncFormatter(lambda seconds, _: f"{seconds:.0f} s"))
    axis.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _with_unit(value, panel.unit)))
    axis.legend(fontsize=7.5, frameon=False, loc="upper left", ncols=2)


def _with_unit(value: float, unit: str) -> str:
    if unit == "s":
        return f"{value:g} s" if value >= 1 or not value else f"{1000 * value:g} ms"
    if unit == "percentunit":
        return f"{100 * value:g} %"
    if unit == "bytes":
        power = 0
        while value >= 1024 and power < len(_BINARY) - 1:
            value, power = value / 1024, power + 1
        return f"{value:.3g} {_BINARY[power]}"
    return f"{value:g}/s" if unit == "reqps" else f"{value:g}"


if __name__ == "__main__":
    main()
