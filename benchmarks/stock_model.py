"""The SavedModel that `model.export()` of Keras writes: what people serve who do nothing further."""

import subprocess
import sys
from pathlib import Path

_CLASSES = 10


def exported(folder: Path, name: str) -> Path:
    """`folder`, with the stock SavedModel of the network `name` at its published size; made where it is missing."""
    if not (folder / "saved_model.pb").is_file():
        subprocess.run([sys.executable, "-m", "benchmarks.stock_model", str(folder), name], check=True)
    return folder


def _export(folder: str, name: str) -> None:
    from export.architectures import ARCHITECTURES
    from export.quiet import import_tensorflow

    import_tensorflow()
    row = ARCHITECTURES[name]
    row.build(row.shape(row.input_size), _CLASSES).export(folder, verbose=False)


if __name__ == "__main__":
    _export(*sys.argv[1:])
