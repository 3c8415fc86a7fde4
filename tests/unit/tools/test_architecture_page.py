"""docs/architecture.md says what the code is now."""

import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

from tools.architecture.packages import ROOT, name_room, read_imports, read_summary, reduce_transitively
from tools.architecture.page import (
    PAGE,
    draw_packages,
    list_rooms,
    read_steps,
    replace_part,
    write_code_parts,
    write_steps,
)
from tools.architecture.request_path import Step


def test_the_page_is_what_the_code_says() -> None:
    text = PAGE.read_text()
    assert write_code_parts(text) == text, "run python -m tools.architecture --repository model_repository"


@pytest.mark.parametrize("part", ["picture", "rooms", "files"])
def test_what_the_code_does_not_say_does_not_stay(part: str) -> None:
    text = PAGE.read_text()
    stale = replace_part(text, part, "what the code was once")
    assert stale != text and write_code_parts(stale) == write_code_parts(text)


def test_the_command_checks_and_refuses_without_a_model(tmp_path: Path) -> None:
    before = PAGE.read_bytes()
    command = [sys.executable, "-m", "tools.architecture"]
    checked = subprocess.run([*command, "--check"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert checked.returncode == 0, checked.stderr
    refused = subprocess.run(
        [*command, "--repository", str(tmp_path)], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert refused.returncode == 2 and "run python -m export --model lenet5" in refused.stderr
    assert PAGE.read_bytes() == before


def test_arrows_are_imports_without_those_that_a_longer_path_implies() -> None:
    imports = {"a": {"b", "c", "d"}, "b": {"c"}, "c": {"d"}, "d": set[str]()}
    assert reduce_transitively(imports) == {"a": {"b"}, "b": {"c"}, "c": {"d"}, "d": set()}
    with pytest.raises(graphlib.CycleError):
        reduce_transitively({"a": {"b"}, "b": {"a"}})


def test_rooms_are_the_packages_of_the_service_and_the_other_programs() -> None:
    assert name_room("service.api.http.connection") == "service.api"
    assert name_room("service.predictor") == "service.predictor"
    assert name_room("export.data.sources") == "export"
    imports = read_imports()
    assert "service.models" in imports["service.routing"] and "service.routing" not in imports["service.models"]
    assert "export --> service-protobuf" in draw_packages(imports)


def test_a_summary_is_the_first_sentence_of_a_docstring(tmp_path: Path) -> None:
    file = tmp_path / "module.py"
    file.write_text('"""Reads `labels.txt`, one label\na line. Raises ValueError.\n\nMore.\n"""\n')
    assert read_summary(file) == "Reads `labels.txt`, one label a line."
    file.write_text("x = 1\n")
    assert read_summary(file) == ""


def test_every_room_says_what_it_is() -> None:
    silent = [line for line in list_rooms().splitlines() if line.endswith("|  |")]
    assert silent == []


def test_steps_are_read_as_they_are_written() -> None:
    steps = [Step(Path("service/api/edge.py"), "read", "bytes"), Step(Path("service/backends/run.py"), "run", "pixels")]
    assert read_steps(write_steps(PAGE.read_text(), steps)) == ["service/api/edge.py", "service/backends/run.py"]
