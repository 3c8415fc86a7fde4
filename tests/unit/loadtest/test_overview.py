"""The report's table of architectures: which engine runs each."""

import json
from pathlib import Path

import pytest

from loadtest.analysis.findings import findings
from loadtest.report.sections import overview
from loadtest.results import Run
from loadtest.target.target import Served, Target
from tests.support import synthetic_runs
from tests.support.scripted_http import Answer, scripted


def write_overview(*engines: tuple[str, str, str]) -> str:
    run = synthetic_runs.run(seconds=1, networks=len(engines))
    for subject, (precision, engine, engine_precision) in zip(run.subjects, engines, strict=True):
        subject.precision, subject.engine, subject.engine_precision = precision, engine, engine_precision
    return overview(findings(run))


def test_an_engine_is_named_and_what_it_computes_in_where_that_is_not_the_exports() -> None:
    table = write_overview(
        ("float32", "openvino", "bfloat16"), ("float32", "openvino", "float32"), ("int8", "litert", "")
    )
    assert table.count("openvino bf16</td>") == 1 and table.count("openvino</td>") == 1
    assert table.count("litert</td>") == 1


def test_the_share_of_the_ceiling_is_shown_of_networks_whose_multiply_adds_are_known() -> None:
    run = synthetic_runs.run(seconds=1, networks=2)
    assert "ceiling" not in overview(findings(run))
    known, unknown = run.subjects
    known.macs, known.ceiling, unknown.ceiling = 416_520, 100.0, 100.0
    found = next(each for each in findings(run) if each.subject is known)
    assert found.share == pytest.approx(max(point.throughput for point in known.points) * 416_520 / 100e9)
    known.ceiling = 400.0 * (found.share or 0.0)
    table = overview(findings(run))
    assert "ceiling" in table and table.count("25%</td>") == 1


def test_there_is_no_column_where_no_engine_is_known() -> None:
    assert "engine" not in write_overview(("int8", "", ""))


@pytest.mark.parametrize(
    ("profile", "engine"),
    [({"engine": "openvino", "precision": "bfloat16"}, ("openvino", "bfloat16")), (None, ("", ""))],
)
def test_the_engine_is_what_the_service_says(profile: dict[str, str] | None, engine: tuple[str, str]) -> None:
    signature = {"inputs": {"image_bytes": {"dtype": "string"}}}
    facts = {"macs": 416_520}
    manifest = {
        "signatures": {"serving_default": signature},
        "precision": "float32",
        "profile": profile,
        "facts": facts,
    }
    answers = [{"models": {"m": [3]}}, {"manifest": manifest}]
    with scripted(*(Answer(body=json.dumps(each).encode()) for each in answers)) as service:
        found = Target(service.url, "", "").model("m")
    assert isinstance(found, Served)
    assert (found.subject.engine, found.subject.engine_precision) == engine
    assert found.subject.macs == 416_520


def test_results_of_older_runs_have_no_engine(tmp_path: Path) -> None:
    run = synthetic_runs.run(seconds=1, networks=1)
    run.write(path := tmp_path / "results.json")
    old = json.loads(path.read_text())
    for name in ("engine", "engine_precision", "macs", "ceiling"):
        del old["subjects"][0][name]
    path.write_text(json.dumps(old))
    subject = Run.read(path).subjects[0]
    assert (subject.engine, subject.ceiling) == ("", None)
