"""docs/routing.md: its file is served, its commands are run as printed, and say what stands beside them."""

import re
import shutil
import subprocess
from pathlib import Path

from service.observability.metrics.routes import RouteMetrics
from service.routing.schema import parse
from tests.support.service_process import running

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs" / "routing.md").read_text()


def block(marker: str, kind: str) -> str:
    (found,) = re.findall(rf"<!-- {re.escape(marker)} -->\n```{kind}\n(.*?)```", TEXT, re.DOTALL)
    return str(found)


def test_the_example_runs_as_printed(demo_repository: Path, tmp_path: Path) -> None:
    repository = tmp_path / "model_repository"
    shutil.copytree(demo_repository, repository)
    shutil.copytree(repository / "lenet5" / "1", repository / "lenet5" / "2")
    (tmp_path / "routes.yaml").write_text(block("routes.yaml", "yaml"))
    commands = block("run with routes.yaml", "bash")
    expected = re.findall(r"   # (.+)$", commands, re.MULTILINE)
    with running("--repository", repository, "--routes", tmp_path / "routes.yaml") as service:
        service.wait_ready()
        here = commands.replace("localhost:8000", f"localhost:{service.http_port}")
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", here], cwd=tmp_path, capture_output=True, text=True, timeout=60
        )
        assert done.returncode == 0, done.stderr
        assert service.stop() == 0
    assert len(expected) == 4
    remaining = done.stdout.splitlines()
    for line in expected:
        found = next(position for position, said in enumerate(remaining) if said.strip().rstrip(",") == line)
        del remaining[: found + 1]


def test_every_key_of_a_file_is_explained() -> None:
    routes = parse(block("routes.yaml", "yaml")).by_name
    assert routes["lenet5"].shadow is not None and routes["careful"].ensemble is not None
    for name in (
        "target",
        "split",
        "labels",
        "fallback",
        "shadow",
        "ensemble",
        "latency_slo_ms",
        "max_in_flight",
        "max_rows",
    ):
        assert f"`{name}`" in TEXT


def test_every_series_that_is_named_exists() -> None:
    from prometheus_client import CollectorRegistry

    registry = CollectorRegistry()
    RouteMetrics(registry)
    known = {metric.name for metric in registry.collect()}
    named = {name.removesuffix("_total") for name in re.findall(r"model_server_(?:route|shadow)\w+", TEXT)}
    assert named and named <= known, named - known
