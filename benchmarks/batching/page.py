"""What the sweep found, as docs/batching.md and a picture for each case."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from benchmarks.batching.sweep import Point
from loadtest.markdown import markdown

_NAMES = {
    "bound": "nobody can do more (offline)",
    "ours": "this service",
    "tuned": "fixed timeout, best setting for each point",
    "usual": "fixed timeout, one setting",
    "eager": "eager, no refusals",
}
_LOOKS = {"bound": ("0.6", ":"), "ours": ("C0", "-"), "tuned": ("C1", "-"), "usual": ("C1", "--"), "eager": ("C2", "-")}

_INTRODUCTION = """# Batching, simulated

Written by `make simulation`; do not edit.

The production batcher (`service/batching/batcher.py`), in virtual time, against latency profiles: what share of the
requests that are offered is answered within the SLO? Loads are shares of what the machine can do in time. Beside it:

- **fixed timeout**: TensorFlow Serving's scheduler (`max_batch_size`, `batch_timeout_micros`, `max_enqueued_batches`),
  at the best of {settings} settings for every single point, and at the one that is best for Poisson traffic up to
  capacity, which is what an operator can set;
- **eager**: whatever waits goes as soon as a slot is free, nothing is refused at the door;
- **the bound**: the most that anybody could have answered who had known all arrivals before (exact for one slot).

Arrivals: `poisson`; `bursts`, gamma-distributed gaps with a coefficient of variation of 4; `diurnal`, a rate between
0.2 and 1.8 times the mean. {requests:,} requests a point, the same for everybody. Batches take up to 2 % more or less
than the profile says, at random; the bound's take exactly that.
"""


def render(points: Sequence[Point], pictures: dict[str, str], requests: int, settings: int) -> str:
    lines = [_INTRODUCTION.format(requests=requests, settings=settings), *_goals(points), *_table(points)]
    for title, file in pictures.items():
        lines += [f"## {title}", "", f"![Goodput against offered load: {title}]({file})", ""]
    return "\n".join(lines).rstrip() + "\n"


def title(point: Point) -> str:
    return f"{point.case.machine.name}, SLO {1000 * point.case.slo:.0f} ms"


def _goals(points: Sequence[Point]) -> list[str]:
    bursts = [point for point in points if point.pattern == "bursts" and point.load >= 1]
    rows = [
        ("over the best-tuned fixed timeout, worst point", 0.98, min(point.ours / point.tuned for point in points)),
        ("over it under bursts at or past capacity, best case", 1.30, max(one.ours / one.tuned for one in bursts)),
        ("over one setting under bursts at or past capacity, best case", 1.30, max(p.ours / p.usual for p in bursts)),
        ("of the bound, worst point", 0.90, min(point.ours / point.bound for point in points)),
        ("of the bound, mean", 0.90, sum(point.ours / point.bound for point in points) / len(points)),
    ]
    table = [
        (what, f"at least {wanted:.2f}", f"{measured:.2f}", "met" if measured >= wanted else "not met")
        for what, wanted, measured in rows
    ]
    return ["## What it holds itself to", "", markdown(("goodput", "wanted", "measured", ""), table, text=(0, 3)), ""]


def _table(points: Sequence[Point]) -> list[str]:
    """By case and pattern: the worst and best ratio over the loads."""
    rows = []
    for (name, pattern), group in groupby(points, key=lambda point: (title(point), point.pattern)):
        some = list(group)
        ratios = [[p.ours / p.tuned for p in some], [p.ours / p.usual for p in some], [p.ours / p.bound for p in some]]
        left = [point.tuned / point.bound for point in some]
        cells = [f"{min(column):.2f} - {max(column):.2f}" for column in (*ratios, left)]
        rows.append((name, pattern, *cells))
    head = ("case", "arrivals", "over tuned", "over one setting", "of the bound", "tuned, of the bound")
    return ["## Over all loads, lowest and highest", "", markdown(head, rows, text=(0, 1)), ""]


def draw(points: Sequence[Point], folder: Path) -> dict[str, str]:
    """A PNG a case in `folder`; title -> file name."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    pictures = {}
    for number, (name, group) in enumerate(groupby(points, key=title)):
        some = list(group)
        patterns = list(dict.fromkeys(point.pattern for point in some))
        figure, axes = pyplot.subplots(1, len(patterns), figsize=(12, 3.6), sharey=True, layout="constrained")
        for axis, pattern in zip(axes, patterns, strict=True):
            line = [point for point in some if point.pattern == pattern]
            for attribute, label in _NAMES.items():
                colour, style = _LOOKS[attribute]
                axis.plot(
                    [point.load for point in line],
                    [point.load * getattr(point, attribute) for point in line],
                    style,
                    color=colour,
                    label=label,
                    linewidth=2.2 if attribute == "ours" else 1.4,
                )
            axis.set(title=pattern, xlabel="offered load, of capacity")
            axis.grid(alpha=0.3)
            axis.set_ylim(bottom=0)
        axes[0].set_ylabel("answered in time, of capacity")
        figure.legend(
            *axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=5, frameon=False, fontsize=8.5
        )
        figure.suptitle(name)
        file = folder / f"goodput-{number}.png"
        figure.savefig(file, dpi=110)
        pyplot.close(figure)
        pictures[name] = f"{folder.name}/{file.name}"
    return pictures
