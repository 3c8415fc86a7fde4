"""docs/zoo.md and its two pictures, from the registry and from what was measured."""

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.catalogue.families import FAMILIES
from benchmarks.catalogue.pictures import draw_accuracy, draw_timeline
from drawing.document import render_svg
from export.architectures import ARCHITECTURES
from export.architectures.architecture import Architecture
from export.architectures.costs import COSTS
from export.architectures.measurements import Measurements
from export.listing import format_short
from loadtest.markdown import markdown

PAGE = Path("docs/zoo.md")
TIMELINE, ACCURACY = Path("images/zoo-timeline.svg"), Path("images/zoo-accuracy.svg")

_NETWORKS = ("network", "family", "year", "parameters", "published", "depth", "GMACs", "input", "top-1", "top-5", "by")
_COSTS = (
    "network",
    "build s",
    "export s",
    "SavedModel MB",
    "LiteRT MB",
    "LiteRT ms, 1 image",
    "8 images",
    "TensorFlow ms, 1 image",
    "8 images",
)
_NOT_MEASURED = "-"


def write(measured: Measurements, page: Path = PAGE) -> None:
    """Writes the page, and its pictures in a folder beside it."""
    rows = tuple(ARCHITECTURES.values())
    page.parent.joinpath(TIMELINE).parent.mkdir(parents=True, exist_ok=True)
    for path, title, canvas in (
        (TIMELINE, "Families of networks by year, and which builds on which", draw_timeline(rows)),
        (ACCURACY, "Published top-1 against multiply-adds", draw_accuracy(rows)),
    ):
        page.parent.joinpath(path).write_text(render_svg(canvas, title), encoding="utf-8")
    page.write_text(render(rows, measured), encoding="utf-8")


def render(rows: Sequence[Architecture], measured: Measurements) -> str:
    return "\n".join((*_introduce(rows), *_families(rows), *_networks(rows), *_costs(rows, measured))) + "\n"


def _introduce(rows: Sequence[Architecture]) -> Iterator[str]:
    yield from (
        "# The zoo",
        "",
        "Written by `python -m benchmarks.catalogue`; do not edit.",
        "",
        f"{len(rows)} networks in {len({row.family for row in rows})} families. `python -m export --list` is this page",
        "in a terminal, `python -m export describe NAME` has the paper, the stages and what each costs, and",
        "`python -m export --model NAME` exports one.",
        "",
        f"![Families by year]({TIMELINE})",
        "",
        "Years go down, and each column is a line of thought. A line leads from a family to those that build on it.",
        "",
        f"![Accuracy against cost]({ACCURACY})",
        "",
        "Published top-1 on ImageNet against multiply-adds of one image at the published size; the members of a family",
        "are joined. Up and to the left is better. Images are of different sizes and training was of different years:",
        "a point or two tells little. Where no figure is published, or none whose source could be found, a network is",
        "missing. Multiply-adds are not time: the last table has that.",
        "",
    )


def _families(rows: Sequence[Architecture]) -> Iterator[str]:
    years = {row.family: row.year for row in reversed(rows)}
    table = [
        (name, str(years[name]), family.lane, family.strength, family.weakness)
        for name, family in FAMILIES.items()
        if name in years
    ]
    yield from ("## What each family is good and bad at", "")
    yield markdown(("family", "year", "line", "good", "bad"), table, text=(0, 2, 3, 4))
    yield ""


def _networks(rows: Sequence[Architecture]) -> Iterator[str]:
    yield from (
        "## Networks",
        "",
        "Parameters are those of the network that is built here, which a test holds against the published count:",
        "exactly, or as closely as it is published. Top-1 and top-5 are percent of ImageNet's validation images, as",
        "published by whom the last column names; [where those figures are](exporting.md#published-accuracy).",
        "",
        markdown(_NETWORKS, [_network(row) for row in rows], text=(0, 1, 4, 10)),
        "",
    )


def _network(row: Architecture) -> tuple[str, ...]:
    cost = COSTS[row.name]
    return (
        row.name,
        row.family,
        str(row.year),
        f"{row.parameters:,}",
        _publish_count(row),
        str(cost.depth),
        f"{cost.macs / 1e9:.2f}" if cost.macs >= 5e6 else "<0.01",
        "x".join(map(str, row.shape(row.input_size))),
        *(_NOT_MEASURED if share is None else f"{100 * share:.1f}" for share in (row.top1, row.top5)),
        row.measured_by or _NOT_MEASURED,
    )


def _publish_count(row: Architecture) -> str:
    """Parameters as they were published."""
    if row.trainable is not None:
        return f"{row.trainable:,} trainable"
    rounded = re.search(r"published as ([\d.]+M)$", row.source)
    if rounded:
        return rounded[1]
    return "-" if row.source.endswith("as Keras builds it") else f"{row.parameters:,}"


def _costs(rows: Sequence[Architecture], measured: Measurements) -> Iterator[str]:
    missing = [row.name for row in rows if row.name not in measured.networks]
    untimed = [name for name, each in measured.networks.items() if each.latency is None]
    yield from (
        "## What they take on one machine",
        "",
        f"Measured on {measured.machine or 'no machine yet'}: untrained, in float32, at the published size.",
        "Building is Keras' work. Exporting is freezing the SavedModel and converting it to LiteRT; reading images,",
        "training and checks come on top. LiteRT and TensorFlow run on all cores; the service chooses for each model",
        "between that and a core for each request, which answers more of them. A latency is the first quartile of the",
        "calls of 0.6 s, while other work on the machine stands still; the lower one where it was timed again.",
        "Where others share the machine, its speed varies by a factor of two within minutes, and timing again makes up",
        "for a part of that: smaller differences say little. Build and export seconds were taken beside other work,",
        "and are an upper bound.",
        "",
    )
    if missing:
        yield from (f"Not measured: {', '.join(missing)}.", "")
    if untimed:
        yield from (f"Exported and not timed: {', '.join(untimed)}.", "")
    yield markdown(_COSTS, [_cost(row, measured) for row in rows])


def _cost(row: Architecture, measured: Measurements) -> tuple[str, ...]:
    found = measured.networks.get(row.name)
    if found is None:
        return (row.name, *[_NOT_MEASURED] * (len(_COSTS) - 1))
    latency = found.latency
    times = [_NOT_MEASURED] * 4
    if latency is not None:
        times = [f"{engine[size]:.3g}" for engine in (latency.litert_ms, latency.tensorflow_ms) for size in (1, 8)]
    return (
        row.name,
        f"{found.build_seconds:.1f}",
        f"{found.export_seconds:.1f}",
        format_short(found.saved_model_bytes / 1e6),
        format_short(found.litert_bytes / 1e6),
        *times,
    )
