"""`python -m export describe NAME`: a network's paper in three lines, and its stages with what they cost."""

import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from export import spec
from export.architectures.architecture import Architecture
from export.architectures.cost import Stage, build_shapes, list_stages
from export.architectures.costs import COSTS
from export.architectures.ideas import IDEAS
from export.architectures.measurements import read_measurements
from export.architectures.publishers import PUBLISHERS
from export.arguments import Parser
from export.clip.network import NETWORKS
from export.clip.signatures import split
from export.listing import ROWS, describe, format_count, format_table

_HEAD = ("stage", "type", "repeats", "output", "params", "MMACs", "layers that multiply")
_LEFT = frozenset({1, len(_HEAD) - 1})


def main(arguments: Sequence[str]) -> int:
    """Prints it. Raises UsageError."""
    parser = Parser(
        "export describe",
        "What a network is: its paper in three lines, then each stage with its blocks, the shape it "
        "answers, parameters and millions of multiply-adds for one image of the published size.",
        "resnet50,mobilenet_v2",
    )
    parser.add_argument("model", metavar="NAME[,NAME...]", help="the networks; python -m export --list shows them")
    parser.add_argument("--json", action="store_true", help="a JSON array, with the numbers as they are")
    args = parser.parse_args(arguments)
    rows = spec.architectures(args.model, "NAME", ROWS)
    from export.quiet import import_tensorflow

    import_tensorflow()
    if args.json:
        print(json.dumps([_describe(row) for row in rows], indent=1))
        return 0
    for number, row in enumerate(rows):
        if number:
            print()
        print("\n".join(_write(row)))
    return 0


def _describe(row: Architecture) -> dict[str, Any]:
    stages = [asdict(stage) for stage in _list_stages(row)]
    return {**describe(row, read_measurements()), "idea": list(IDEAS[row.family]), "stages": stages}


def _list_stages(row: Architecture) -> tuple[Stage, ...]:
    """Those of one encoder after the other where there are two."""
    model = build_shapes(row)
    if row.name not in NETWORKS:
        return list_stages(model)
    encoders = zip(("image", "text"), split(model), strict=True)
    return tuple(replace(stage, kind=f"{what}: {stage.kind}") for what, each in encoders for stage in list_stages(each))


def _write(row: Architecture) -> list[str]:
    stages, cost = _list_stages(row), COSTS[row.name]
    shares = [f"top-{rank} {100 * share:.1f}" for rank, share in ((1, row.top1), (5, row.top5)) if share is not None]
    where = f" ({PUBLISHERS[row.measured_by]})" if row.measured_by in PUBLISHERS else ""
    least = f"{row.smallest_size}x{row.smallest_size}"
    facts = [
        f"input {'x'.join(map(str, row.shape(row.input_size)))}, no smaller than {least}",
        f"{row.parameters:,} parameters, depth {cost.depth}, {cost.macs / 1e9:.3g} GMACs",
        *([f"ImageNet: {', '.join(shares)}, by {row.measured_by}{where}"] if shares else []),
        f"weights: {row.weights_by}, {row.licence or 'licence not known'}"
        if row.weights_by
        else "weights: none to be had; it is trained here",
    ]
    total = (
        "",
        "in all",
        "",
        "",
        format_count(sum(each.parameters for each in stages)),
        _count_millions(cost.macs),
        "",
    )
    table = format_table(_HEAD, [*(_format(number, each) for number, each in enumerate(stages, 1)), total], _LEFT)
    return [
        f"{row.name}: {row.family}, {row.year}",
        row.source.partition("; count: ")[0],
        "",
        *IDEAS[row.family],
        "",
        *facts,
        "",
        *table,
    ]


def _format(number: int, stage: Stage) -> tuple[str, ...]:
    return (
        str(number),
        stage.kind,
        str(stage.repeats),
        "x".join(map(str, stage.shape)),
        format_count(stage.parameters),
        _count_millions(stage.macs),
        ", ".join(f"{kind} ({count})" for kind, count in stage.layers.items()),
    )


def _count_millions(macs: int) -> str:
    return f"{macs / 1e6:,.1f}"
