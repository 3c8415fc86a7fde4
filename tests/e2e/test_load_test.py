"""`python -m loadtest` as its users run it: against real services, to the end and not."""

import csv
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psutil
import pytest

from loadtest.generator.protocols import PROTOCOLS
from loadtest.results import Run
from tests.support.exporter import ROOT
from tests.support.service_process import running

LONG = ("--scenario", "steps", "--rates", "20", "--seconds", "60")


@contextmanager
def load_test(*arguments: object) -> Iterator["subprocess.Popen[str]"]:
    command = [sys.executable, "-m", "loadtest", *map(str, arguments)]
    process = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    try:
        yield process
    finally:
        for child in psutil.Process(process.pid).children(recursive=True) if process.poll() is None else []:
            child.kill()
        process.kill()
        process.wait()


def measured(output: Path, *arguments: object) -> Run:
    """What a load test that ends well has found."""
    with load_test("--output", output, *arguments) as process:
        _, said = process.communicate(timeout=200)
    assert process.returncode == 0, said
    for name in ("report.html", "report.png", "report.csv"):
        assert (output / name).stat().st_size > 0
    return Run.read(output / "results.json")


def its_service(process: "subprocess.Popen[str]") -> psutil.Process:
    """The service that a load test has started, once its load is past its warm-up: it has answered often."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        assert process.poll() is None, process.communicate()
        running = [(child, _read_command(child)) for child in psutil.Process(process.pid).children()]
        found = [child for child, command in running if "service" in command]
        if found and _count_answers(found[0]) > 80:
            return found[0]
        time.sleep(0.1)
    raise AssertionError("no service was started")


def _count_answers(service: psutil.Process) -> float:
    """By the service's own page of metrics; 0 before it has one."""
    for connection in service.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN:
            try:
                page = httpx.get(f"http://127.0.0.1:{connection.laddr.port}/metrics", timeout=5).text
            except httpx.HTTPError:  # it is gRPC's port, or nobody answers yet
                continue
            return sum(map(float, re.findall(r"^model_server_requests_total\{.*\} ([\d.e+]+)$", page, re.MULTILINE)))
    return 0


def _read_command(process: psutil.Process) -> list[str]:
    """Empty for one that has just ended."""
    try:
        return list(process.cmdline())
    except psutil.Error:
        return []


@pytest.mark.slow
def test_a_model_is_measured_end_to_end(lenet5_repository: Path, tmp_path: Path) -> None:
    run = measured(
        *(
            tmp_path,
            "--repository",
            lenet5_repository,
            "--seconds",
            1,
            "--scenario",
            "single_stream,multi_stream,steps",
        ),
        *("--rates", "40", "--price-per-hour", 0.5, "--", "--max-batch-rows", 4),
    )
    assert run.interrupted is None and run.price_per_hour == 0.5 and "--max-batch-rows 4" in run.service
    (subject,) = run.subjects
    assert (subject.model, subject.version, subject.architecture, subject.image_size) == ("lenet5", 1, "lenet5", 28)
    assert subject.bytes_on_disk == (lenet5_repository / "lenet5" / "1" / "model.tflite").stat().st_size
    assert subject.engine in ("litert", "openvino")
    assert (subject.ceiling is None) == (subject.macs is None), "versions of older exports do not say their macs"
    assert "on all cores here" in run.method["ceiling"]
    assert subject.accuracy is not None and subject.accuracy > 0.9 and "held-out" in (subject.accuracy_source or "")
    alone, eight, steps = subject.points
    assert [point.tool for point in subject.points] == ["loadgen", "loadgen", "locust"]
    for point in subject.points:
        assert point.errors == {} and len(point.latencies) == point.requests > 20
        assert {"read", "decode", "queue", "batch", "compute", "transport"} == point.stages.keys()
        assert all(milliseconds >= 0 for milliseconds in point.stages.values())
        assert point.server_cpu_seconds is not None and 0 < point.server_cpu_seconds < 60
        assert point.server_memory_mb is not None and 30 < point.server_memory_mb < 2000
        images = sum(size * count for size, count in point.batches.items())
        assert images >= point.requests * (8 if point is eight else 1) and max(point.batches) <= 4
    assert steps.offered == 40 and steps.requests == pytest.approx(40 * 4, abs=40), "as long as a p99 takes"
    assert sum(map(len, steps.stretches)) == len(steps.latencies)
    assert alone.concurrency == 1 and alone.verdict is not None
    logs = tmp_path / "loadgen" / "lenet5-1" / "predict-single_stream"
    assert {path.name for path in logs.iterdir()} >= {"mlperf_log_summary.txt", "mlperf_log_detail.txt"}


@pytest.mark.slow
def test_every_protocol_of_a_service_that_runs(lenet5_repository: Path, tmp_path: Path) -> None:
    with running("--repository", lenet5_repository) as service:
        service.wait_ready()
        run = measured(
            *(tmp_path, "--url", service.url, "--grpc-target", f"127.0.0.1:{service.grpc_port}"),
            *(
                "--protocol",
                "all",
                "--scenario",
                "steps",
                "--rates",
                "30",
                "--seconds",
                0.5,
                "--images",
                _one(tmp_path),
            ),
        )
        assert service.process.poll() is None
    (subject,) = run.subjects
    assert [point.protocol for point in subject.points] == list(PROTOCOLS)
    for point in subject.points:
        assert point.errors == {} and len(point.latencies) == point.requests > 30
        assert {"decode", "compute", "transport"} <= point.stages.keys() and sum(point.batches.values()) > 20
        assert point.server_cpu_seconds is not None, "it runs on this machine"


def _one(folder: Path) -> Path:
    from loadtest.generator import photos

    images = folder / "images"
    images.mkdir()
    (images / "only.jpg").write_bytes(photos.tiny())
    return images


@pytest.mark.slow
def test_overhead_needs_no_model(tmp_path: Path) -> None:
    run = measured(tmp_path, "--overhead", "--seconds", 0.3)
    (subject,) = run.subjects
    assert subject.model == "fake" and [point.concurrency for point in subject.points] == [1, 8, 32, 128]
    assert all(not point.errors and point.server_cpu_seconds for point in subject.points)


@pytest.mark.slow
def test_the_highest_rate_within_the_slo_is_searched(lenet5_repository: Path, tmp_path: Path) -> None:
    scenarios = ("--scenario", "search,server,burst,offline", "--seconds", 1, "--slo-ms", 150)
    run = measured(tmp_path, "--repository", lenet5_repository, *scenarios)
    (subject,) = run.subjects
    found = subject.capacity
    assert found is not None and 10 < found.low <= found.rate <= found.high < 5000 and found.samples > 300
    server = next(point for point in subject.points if point.scenario == "server")
    assert server.offered == pytest.approx(found.low) and server.tool == "loadgen"


def test_what_was_measured_before_ctrl_c_is_reported(lenet5_repository: Path, tmp_path: Path) -> None:
    with load_test("--repository", lenet5_repository, *LONG, "--output", tmp_path) as process:
        its_service(process)
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        _, said = process.communicate(timeout=60)
        assert time.monotonic() - began < 30 and process.returncode == 130, said
    assert "Ctrl-C" in said and "Traceback" not in said
    run = Run.read(tmp_path / "results.json")
    assert run.interrupted is not None and "Ctrl-C" in run.interrupted
    (subject,) = run.subjects
    assert subject.problem is not None and "Ctrl-C" in subject.problem and not subject.collapsed
    (point,) = subject.points
    assert len(point.latencies) > 10 and (tmp_path / "report.html").is_file()
    assert not [each for each in psutil.process_iter() if str(lenet5_repository) in " ".join(_read_command(each))]


@pytest.mark.slow
def test_one_model_that_collapses_leaves_the_others_their_turn(lenet5_repository: Path, tmp_path: Path) -> None:
    repository = tmp_path / "models"
    for name in ("first", "second"):
        shutil.copytree(lenet5_repository / "lenet5", repository / name)
    load = ("--scenario", "steps", "--rates", "40", "--seconds", "3")
    with load_test("--repository", repository, *load, "--output", tmp_path / "report") as process:
        its_service(process).kill()
        _, said = process.communicate(timeout=120)
    assert process.returncode == 1, said
    assert "first collapsed: the service was ended by signal 9" in said and "Traceback" not in said
    run = Run.read(tmp_path / "report" / "results.json")
    first, second = run.subjects
    assert run.interrupted is None and first.collapsed and "signal 9" in (first.problem or "")
    assert len(first.points[0].latencies) > 10, "what was measured before is kept"
    assert not second.collapsed and second.problem is None and len(second.points[0].latencies) > 300
    assert "collapsed" in (tmp_path / "report" / "report.html").read_text()
    assert not [each for each in psutil.process_iter() if str(repository) in " ".join(_read_command(each))]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (("--scenario", "stpes"), "invalid --scenarios stpes: expected all, or some of single_stream"),
        (("--protocol", "http"), "invalid --protocols http: expected all, or some of predict"),
        (("--seconds", "0"), "argument --seconds: expected a number above 0, got '0'"),
        (("--repository", "/nowhere"), "--repository /nowhere is not a folder; export a model"),
        (("--url", "http://127.0.0.1:9", "--", "--workers", "2"), "flags after -- are for a service that is started"),
        (("--url", "http://127.0.0.1:9"), "no service answers at http://127.0.0.1:9"),
        (("--url", "https://127.0.0.1:9"), "invalid --url: expected http://host:8000, got 'https://127.0.0.1:9'"),
        (("--overhead", "--url", "http://127.0.0.1:9"), "leave --url out"),
    ],
)
def test_a_mistake_is_one_line(arguments: tuple[str, ...], says: str) -> None:
    with load_test(*arguments) as process:
        _, said = process.communicate(timeout=30)
    assert process.returncode in (1, 2) and says in said
    assert said.startswith("loadtest: ") and len(said.splitlines()) == 1


def test_a_model_that_is_not_served_is_named(lenet5_repository: Path) -> None:
    with load_test("--repository", lenet5_repository, "--models", "lenet5,lenet6") as process:
        _, said = process.communicate(timeout=60)
    assert process.returncode == 1 and "does not have lenet6; it has lenet5" in said


@pytest.mark.slow
def test_locust_itself_takes_the_users(lenet5_repository: Path, tmp_path: Path) -> None:
    locust = [sys.executable, "-m", "locust", "-f", "loadtest/locustfile.py", "PredictUser", "GrpcOipUser"]
    with running("--repository", lenet5_repository) as service:
        service.wait_ready()
        subprocess.run(
            [
                *(*locust, "--headless", "-u", "10", "-r", "10", "-t", "3s", "--csv", str(tmp_path / "csv")),
                *("--host", service.url, "--grpc-target", f"127.0.0.1:{service.grpc_port}", "--rate", "4"),
            ],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            check=True,
            timeout=90,
        )
    with (tmp_path / "csv_stats.csv").open() as file:
        rows = {row["Name"]: row for row in csv.DictReader(file)}
    for name in ("/predict/lenet5", "/inference.GRPCInferenceService/ModelInfer"):
        assert int(rows[name]["Request Count"]) > 20 and rows[name]["Failure Count"] == "0"
        assert float(rows[name]["Median Response Time"]) > 0
