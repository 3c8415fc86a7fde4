"""report.png has its letters on every machine, from two font files and no drawing library."""

import io
import subprocess
import sys
from pathlib import Path

import font_lato
import numpy as np
import pytest
from PIL import Image

from loadtest.analysis.findings import findings
from loadtest.report import png
from tests.support import synthetic_runs as measured


def test_letters_are_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = measured.run()
    png.write(run, findings(run), tmp_path / "report.png")
    monkeypatch.setattr(font_lato, "font_files", {"Lato": "", "LatoBold": ""})
    png.write(run, findings(run), tmp_path / "without.png")
    head, none = (_head(tmp_path / name) for name in ("report.png", "without.png"))
    assert (head < 128).sum() > 500 > 0 == (none < 128).sum()


def _head(path: Path) -> "np.ndarray[tuple[int, ...], np.dtype[np.uint8]]":
    with Image.open(io.BytesIO(path.read_bytes())) as picture:
        return np.asarray(picture.convert("L"))[:72]


def test_a_report_needs_no_drawing_library(tmp_path: Path) -> None:
    code = (
        "import pathlib, sys; from loadtest import report; from tests.support import synthetic_runs;"
        f"report.write(synthetic_runs.run(), pathlib.Path({str(tmp_path)!r})); assert 'matplotlib' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
    assert (tmp_path / "report.png").stat().st_size > 50_000
