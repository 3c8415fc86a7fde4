"""The most memory that exports of small and of large networks take, against a bar of 2.5 times the model and 1.5 GB.

`python -m benchmarks.export_memory` publishes each network as it is, with random weights, at its published size, and
writes the table in docs/exporting.md. Eight photographs check it: more take time, and no memory. Minutes a network;
what was measured before is kept in export_memory.json.
"""

import argparse
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmarks.export_cost import Step, measure
from export.architectures import ARCHITECTURES
from export.data import photographs
from loadtest.markdown import markdown
from loadtest.target import machine

EXPORTS = ("efficientnet_lite0", "resnet50", "resnet50 --quantize", "vgg16", "convnext_base")
"""A network and what is asked of it beside."""

RECORD = Path(__file__).with_name("export_memory.json")
PAGE = Path("docs/exporting.md")

_BEGIN, _END = "<!-- export memory: written by benchmarks.export_memory -->", "<!-- end -->"
_SAVE = """
import sys
from export.quiet import import_tensorflow
import_tensorflow()
from export.architectures import ARCHITECTURES
row = ARCHITECTURES[sys.argv[1]]
row.build(row.shape(row.input_size), row.classes).save(sys.argv[2])
"""
_TIMES, _ABOVE = 2.5, 1.5e9


@dataclass(frozen=True, slots=True)
class Peak:
    """Bytes of anonymous memory at most: of the export with all processes that it starts, during `stage`, and of the
    largest of them. `model` is what the parameters take in float32.
    """

    model: int
    peak: int
    stage: str
    largest: int
    machine: str

    @property
    def bar(self) -> float:
        return _TIMES * self.model + _ABOVE


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.export_memory", description=__doc__.partition("\n")[0])
    parser.add_argument(
        "--exports", nargs="*", default=EXPORTS, metavar='"NAME [--quantize]"', help="(default: %(default)s)"
    )
    arguments = parser.parse_args()
    kept = read()
    for each in arguments.exports:
        kept[each] = measure_peak(*each.split())
        text = json.dumps({name: asdict(peak) for name, peak in sorted(kept.items())}, indent=1)
        RECORD.write_text(text + "\n", encoding="utf-8")
        PAGE.write_text(render(PAGE.read_text(encoding="utf-8"), kept), encoding="utf-8")
    return any(peak.peak > peak.bar for peak in kept.values())


def read() -> dict[str, Peak]:
    """What was measured before, by what was exported."""
    return {name: Peak(**each) for name, each in json.loads(RECORD.read_text()).items()} if RECORD.exists() else {}


def render(page: str, peaks: dict[str, Peak]) -> str:
    """The page with another table."""
    before, _, rest = page.partition(_BEGIN)
    return f"{before}{_BEGIN}\n\n{tabulate(peaks)}\n\n{_END}{rest.partition(_END)[2]}"


def measure_peak(name: str, *flags: str) -> Peak:
    """Raises SystemExit where the export fails."""
    row, steps = ARCHITECTURES[name], list[Step]()
    with tempfile.TemporaryDirectory() as folder:
        weights, photos = Path(folder, "random.keras"), Path(folder, "photographs")
        subprocess.run([sys.executable, "-c", _SAVE, name, weights], check=True)
        photos.mkdir()
        for example in photographs.list_examples():
            (photos / example.origin).write_bytes(example.data)
        given = ["--model", name, "--weights", str(weights), "--calibration", str(photos), *flags]
        if code := measure([*given, "--force", "--repository", folder], steps):
            sys.exit(code)
    highest = max(steps, key=lambda step: step.peak)
    return Peak(
        4 * row.parameters, highest.peak, highest.title, max(step.largest for step in steps), machine.describe()
    )


def tabulate(peaks: dict[str, Peak]) -> str:
    rows = [
        (name, *(f"{value / 1e6:,.0f}" for value in (each.model, each.bar, each.peak, each.largest)), each.stage)
        for name, each in sorted(peaks.items(), key=lambda item: item[1].model)
    ]
    head = ("export", "model MB", "bar MB", "peak MB", "largest process MB", "at its peak")
    machines = "; ".join(sorted({each.machine for each in peaks.values()}))
    return f"{markdown(head, rows, text=(0, 5))}\n\n{machines}."


if __name__ == "__main__":
    sys.exit(main())
