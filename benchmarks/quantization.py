"""`python -m benchmarks.quantization`: what `--quantize` makes of the twelve networks, trained for real.

They learn the digits at a small size, so that all of it takes under an hour on two cores. What is there
already, below build/quantized, is not exported again. Writes docs/quantization.md.
"""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.networks import NETWORKS, exported
from export.quantize.candidates import BESIDE
from loadtest.markdown import markdown
from loadtest.target import machine
from service.repository.manifest import Manifest

REPORT = Path("docs/quantization.md")
REPOSITORY = Path("build/quantized")

_SIZE, _SMALLEST = 64, {"inception_v3": 75}
_EPOCHS = 8
_OWN_RECIPE = ("lenet5",)  # 28x28 and trained in seconds


def main() -> int:
    manifests = []
    for number, name in enumerate(NETWORKS, 1):
        print(f"{number}/{len(NETWORKS)} {name}", flush=True)
        manifests.append(exported(REPOSITORY, name, _arguments(name))[1])
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    REPORT.write_text("\n".join(_report(manifests)) + "\n", encoding="utf-8")
    print(f"written to {REPORT}")
    return 0


def _arguments(name: str) -> list[str]:
    if name in _OWN_RECIPE:
        return ["--quantize"]
    return ["--image-size", str(_SMALLEST.get(name, _SIZE)), "--epochs", str(_EPOCHS), "--quantize"]


def _report(manifests: list[Manifest]) -> Iterator[str]:
    facts = manifests[0].facts
    won = sum(_best_integer(manifest) > 1 for manifest in manifests)
    yield from (
        "# What `--quantize` makes of twelve networks",
        "",
        "Written by `python -m benchmarks.quantization`; do not edit.",
        "",
        f"- {machine.describe()}",
        f"- each trained on the digits with `python -m export --image-size {_SIZE} --epochs {_EPOCHS} --quantize` "
        f"(lenet5 by its own recipe, inception_v3 at {_SMALLEST['inception_v3']})",
        "- milliseconds of one image alone, on one thread; the candidates of a network took turns",
        f"- accuracy on {facts['dataset']['held_out']} held-out images, of which a form may get "
        f"{facts['quantization']['max_accuracy_drop']:g} more wrong than float32",
        f"- forms with int8 activations that are accurate enough beat float32 on {won} of {len(manifests)} networks",
        "",
        markdown(_HEAD, [_summary(manifest) for manifest in manifests], text=(0, 2)),
    )
    for manifest in manifests:
        rows = _candidates(manifest)
        yield from ("", f"## {manifest.name}", "")
        yield markdown(_CANDIDATE_HEAD, [_candidate(row, rows[0]) for row in rows], text=(0, 8))
        for name, why in manifest.facts["quantization"]["failed"].items():
            yield f"\nNot built: {name}: {why}"


_HEAD = ("network", "float32 ms", "published", "ms", "faster", "size", "float32 accuracy", "accuracy", "int8 or mixed")
_CANDIDATE_HEAD = ("candidate", "ms", "ms in eights", "size", "images", "accuracy", "agrees", "worst class", "verdict")


def _summary(manifest: Manifest) -> tuple[str, ...]:
    rows = _candidates(manifest)
    float32, published = rows[0], next(row for row in rows if row["verdict"] == "published")
    best = _best_integer(manifest)
    return (
        manifest.name,
        f"{_ms(float32):.3g}",
        published["name"],
        f"{_ms(published):.3g}",
        f"{_ms(float32) / _ms(published):.2f}x",
        f"{published['bytes'] / float32['bytes']:.0%}",
        f"{float32['accuracy']:.4f}",
        f"{published['accuracy']:.4f}",
        f"{best:.2f}x" if best else "-",
    )


def _best_integer(manifest: Manifest) -> float:
    """How many times as fast as float32 the fastest accurate form with int8 activations is; 0 where there is none.

    A form without an accuracy was timed only: it is slower than the published one. One for another engine is not one
    of `model.tflite`.
    """
    rows = _candidates(manifest)
    integer = [
        row
        for row in rows
        if row["precision"] in ("int8", "mixed")
        and row["images"]
        and row["verdict"] != BESIDE
        and "refused" not in row["verdict"]
    ]
    return max((_ms(rows[0]) / _ms(row) for row in integer), default=0.0)


def _candidate(row: dict[str, Any], float32: dict[str, Any]) -> tuple[str, ...]:
    return (
        row["name"],
        f"{_ms(row):.3g}",
        f"{row['milliseconds_an_image_by_batch']['8']:.3g}",
        f"{row['bytes'] / float32['bytes']:.0%}",
        str(row["images"]),
        *(
            "-" if share is None else f"{share:.4f}"
            for share in (
                row["accuracy"],
                row["agreement_with_float32"],
                row["worst_class"] and row["worst_class"]["accuracy"],
            )
        ),
        row["verdict"],
    )


def _candidates(manifest: Manifest) -> list[dict[str, Any]]:
    """Where a manifest does not say how many images a form was examined on, it is older, and they were all."""
    held_out = manifest.facts["dataset"]["held_out"]
    return [{"images": held_out, **row} for row in manifest.facts["quantization"]["candidates"]]


def _ms(row: dict[str, Any]) -> float:
    return float(row["milliseconds_an_image_by_batch"]["1"])


if __name__ == "__main__":
    sys.exit(main())
