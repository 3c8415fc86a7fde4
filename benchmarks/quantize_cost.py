"""What `--quantize` takes for ResNet50 on 1,000 held-out images, stage by stage: seconds, CPU seconds and memory.

`python -m benchmarks.quantize_cost` makes photographs and a network, exports it, and writes the table in
docs/exporting.md. Minutes, on a machine that does nothing else.
"""

import argparse
import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.export_cost import Step, measure, tabulate
from export.data import photographs
from loadtest.target import machine

PAGE = Path("docs/exporting.md")
FOLDER = Path("build/quantize_cost")

NETWORK, TRAINED, HELD_OUT = "resnet50", 200, 1_000

_BEGIN, _END = "<!-- quantize cost: written by benchmarks.quantize_cost -->", "<!-- end -->"
_SEED = 17

# Random weights whose last layer is fitted to the training images (ridge regression): its answers depend on the image,
# and are right more often than not. They are flat: a quantized form of a random network differs much in sharp ones.
_BUILD = """
import sys
from pathlib import Path
import numpy as np
from export.quiet import import_tensorflow
import_tensorflow()
import keras
from PIL import Image
from export.architectures import ARCHITECTURES
from export.data import pixels
name, folder, target = sys.argv[1], Path(sys.argv[2]), sys.argv[3]
row, kinds = ARCHITECTURES[name], sorted(path.name for path in folder.iterdir())
keras.utils.set_random_seed(17)
model = row.build(row.shape(row.input_size), len(kinds))
body = keras.Model(model.inputs, model.layers[-1].input)
files = [(kind, file) for kind in kinds for file in sorted((folder / kind).iterdir())]
size = (row.input_size, row.input_size)
images = np.stack([np.asarray(Image.open(file).convert("RGB").resize(size)) for _, file in files])
found = np.concatenate([body(pixels.to_tensor(images[i : i + 8], row)).numpy() for i in range(0, len(images), 8)])
centre, spread = found.mean(0), found.std() or 1.0
x = (found - centre) / spread
y = 0.5 * np.array([[kind == each for each in kinds] for kind, _ in files], np.float32)
kernel = x.T @ np.linalg.solve(x @ x.T + 0.1 * np.trace(x @ x.T) / len(x) * np.eye(len(x)), y) / spread
model.layers[-1].set_weights([kernel, -centre @ kernel])
model.save(target)
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.quantize_cost", description=__doc__.partition("\n")[0])
    parser.add_argument("--prepare", action="store_true", help="make the images and the network, and measure nothing")
    arguments = parser.parse_args()
    flags = prepare(FOLDER)
    if arguments.prepare:
        return 0
    steps: list[Step] = []
    code = measure(flags, steps)
    if code == 0:
        table = f"{tabulate(steps)}\n\n{machine.describe()}."
        PAGE.write_text(render(PAGE.read_text(encoding="utf-8"), table), encoding="utf-8")
    print(tabulate(steps))
    return code


def prepare(folder: Path) -> list[str]:
    """Makes what is not there yet below `folder`. Returns the flags of the export."""
    images, network = folder / "images", folder / f"{NETWORK}.keras"
    if not images.exists():
        for file, data in cut():
            (images / file).parent.mkdir(parents=True, exist_ok=True)
            (images / file).write_bytes(data)
    if not network.exists():
        subprocess.run([sys.executable, "-c", _BUILD, NETWORK, images / "train", network], check=True)
    return [
        *("--from", str(network), "--preprocessing", "caffe", "--data", str(images), "--quantize"),
        *("--repository", str(folder / "repository")),
    ]


def cut() -> Iterator[tuple[Path, bytes]]:
    """Crops of the packaged photographs, a class each: files to train on and held out, and where they belong."""
    from PIL import Image

    generator = np.random.default_rng(_SEED)
    examples = photographs.list_examples()
    for example in examples:
        image: Any = Image.open(io.BytesIO(example.data)).convert("RGB")
        for part, count in (("train", TRAINED // len(examples)), ("test", HELD_OUT // len(examples))):
            for number in range(count):
                yield Path(part, example.label, f"{number:03}.jpg"), photographs.cut(image, generator.random(5))


def render(page: str, table: str) -> str:
    """The page with another table."""
    before, _, rest = page.partition(_BEGIN)
    return f"{before}{_BEGIN}\n\n{table}\n\n{_END}{rest.partition(_END)[2]}"


if __name__ == "__main__":
    sys.exit(main())
