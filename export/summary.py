"""What an export says when it is done: where, how large, how good, and what to type next."""

import sys
from collections.abc import Sequence
from pathlib import Path
from shlex import quote
from typing import TYPE_CHECKING

from export import candidates_table as report
from export.convert.signatures import IMAGE
from export.data import image_size
from export.report.classification import bound_share
from export.report.options import PAGE
from export.training.weights import IMAGENET
from service.plurals import format_items
from service.repository.manifest import SAMPLES, SAVED_MODEL, TFLITE

if TYPE_CHECKING:
    from export.pipeline import Published
    from export.spec import ExportSpec

_PORT = 8000


def show(published: "Sequence[Published]", repository: Path, default: Path) -> None:
    """Prints one block a model, then how to serve and ask, to stdout."""
    for each in published:
        print()
        _table(_facts(each))
        if each.choice is not None:
            print()
            print(report.candidates(each.choice))
    serve = f"{name_interpreter()} -m service" + (
        "" if repository == default else f" --repository {quote(str(repository))}"
    )
    last = published[-1]
    sample = min((last.folder / SAMPLES).iterdir())
    print(f"\nServe it:  {serve}")
    print(
        f"Ask it:    curl --data-binary @{quote(str(sample))} -H 'Content-Type: image/png' "
        f"http://localhost:{_PORT}/predict/{last.spec.name}"
    )
    print(f"           or with a photo of yours, in a browser at http://localhost:{_PORT}")
    sys.stdout.flush()


def name_interpreter() -> str:
    """The interpreter that runs this, as it is called from this folder: another one may lack the packages."""
    found, here = Path(sys.executable), Path.cwd()
    return quote(str(found.relative_to(here) if found.is_relative_to(here) else found))


def _facts(published: "Published") -> list[tuple[str, str]]:
    size, sizes, cost = published.spec.image_size, published.sizes, published.profile
    return [
        (published.spec.name, str(published.folder)),
        ("input", f"{size}x{size} RGB, any JPEG or PNG is resized to it"),
        ("parameters", f"{published.parameters:,}"),
        (
            "files",
            ", ".join(f"{name} {_size(sizes[name])}" for name in map(str, (SAVED_MODEL, TFLITE)) if name in sizes),
        ),
        ("accuracy", _describe_accuracy(published)),
        ("training", published.training.describe()),
        ("parity", f"differs from the network in Keras by at most {published.parity.worst:.1e}"),
        (
            "speed",
            f"{cost.milliseconds[IMAGE][1]:.3g} ms an image on {cost.threads} of this machine's threads, "
            f"{cost.lanes} at a time; {cost.peak_mb:.0f} MB",
        ),
        *([("report", str(page))] if (page := published.folder / PAGE).is_file() else []),
        *(("more", more) for more in [_advise(published.spec)] if more),
        ("took", f"{published.seconds:.0f} s"),
        *(("warning", text) for text in published.warnings),
    ]


def _advise(spec: "ExportSpec") -> str:
    return "" if "image_size" in spec.training.explicit else image_size.describe(spec.architecture, spec.image_size)


def _describe_accuracy(published: "Published") -> str:
    score, row = published.score, published.spec.architecture
    if score is not None:
        low, high = bound_share(round(score.accuracy * published.held_out), published.held_out)
        found = (
            f"{score.accuracy:.4f} on {format_items(published.held_out, 'held-out image')} (95 % "
            f"interval {low:.3f} to {high:.3f})"
        )
        least = score.by_class[score.worst]
        return found if least == 1 else f"{found}; worst class {score.worst!r}, {least:.4f}"
    if published.spec.weights == IMAGENET and row.top1 is not None:
        return f"not measured here; published with the weights: {row.top1:.3f} on ImageNet's validation images"
    return "not measured: the weights are published as they are"


def _table(rows: list[tuple[str, str]]) -> None:
    width = max(len(name) for name, _ in rows)
    for name, text in rows:
        print(f"{name.ljust(width)}  {text}")


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB" if count >= 1e6 else f"{count / 1e3:.0f} kB"
