"""The way of one image, as docs/architecture.md has it, is the way that a running service sends it."""

from pathlib import Path

from tools.architecture.page import PAGE, read_steps
from tools.architecture.request_path import record_steps

MOST_FILES = 14


def test_an_image_enters_the_files_that_the_page_names(lenet5_repository: Path) -> None:
    steps = [step.path.as_posix() for step in record_steps(lenet5_repository, "lenet5")]
    assert steps[0].startswith("service/api/http/") and steps[-1].startswith("service/backends/")
    assert "service/preprocessing/decode.py" in steps and "service/batching/dispatch.py" in steps
    assert len(steps) <= MOST_FILES
    assert steps == read_steps(PAGE.read_text()), "run python -m tools.architecture"
