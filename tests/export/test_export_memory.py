"""Memory does not grow with a dataset: neither where it is read, nor where it is trained on."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.exporter import ROOT
from tests.support.images import encode, photo

pytestmark = pytest.mark.slow

SIZE = 96
PROGRAM = """
import re, sys
from pathlib import Path
from export.quiet import import_tensorflow
import_tensorflow()
from export.architectures import ARCHITECTURES
from export.data import dataset, sources
from export.data.augmentation import PRESETS
from export.progress import Stage
from export.training import train

def peak():
    return int(re.findall(r"VmHWM:\\s+(\\d+)", Path("/proc/self/status").read_text())[0]) // 1024

loaded = dataset.load(sources.find(sys.argv[1]), int(sys.argv[2]), Stage("reading", lambda text: None))
print("read", peak())
row, count = ARCHITECTURES["mobilenet_v3_small"], len(loaded.train.classes)
batches = iter(train.batch_images(row, loaded.train, 32, 0, len(loaded.labels), PRESETS["light"]))
for _ in range(count // 32):
    next(batches)
print("trained", peak())
"""


def measure(root: Path, count: int) -> tuple[int, int]:
    """Megabytes at most, of a process that reads so many files, and then takes every batch of an epoch."""
    root.mkdir()
    made = []
    for index in range(100):
        made.append(root.parent / f"{count}-{index}.jpg")
        made[-1].write_bytes(encode(photo()[index : index + 120, 2 * index : 2 * index + 120], "JPEG"))
    for label in ("a", "b"):
        (root / label).mkdir()
        for index in range(count // 2):
            os.link(made[index % 50 + 50 * (label == "b")], root / label / f"{index:05}.jpg")
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(root), str(SIZE)], cwd=ROOT, capture_output=True, text=True, timeout=280
    )
    assert ended.returncode == 0, ended.stderr
    read, trained = (int(line.split()[1]) for line in ended.stdout.splitlines())
    return read, trained


def test_ten_times_the_images_take_the_same_memory(tmp_path: Path) -> None:
    few, many = measure(tmp_path / "few", 1_000), measure(tmp_path / "many", 10_000)
    print(f"peak MB, read and then trained: {few} for 1,000 images, {many} for 10,000")
    for small, large in zip(few, many, strict=True):
        assert large < 1.15 * small
