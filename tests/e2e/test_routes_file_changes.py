"""The file of routes changes under traffic, is broken, is half written, or is bad from the start."""

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.support.procfs import children
from tests.support.service_process import Service, running


@pytest.mark.slow
def test_edits_under_traffic_are_whole_or_not_at_all(two_versions: Path, digit: bytes, tmp_path: Path) -> None:
    """Route `a` and its label always name the same version in each good file; broken ones lie between the good."""
    path = tmp_path / "routes.yaml"

    def good(version: int) -> str:
        return f"routes:\n  a: {{target: lenet5/{version}, labels: {{now: {version}}}}}\n  b{version}: a\n"

    path.write_text(good(1))
    answers: list[tuple[int, str]] = []
    stop = threading.Event()

    def client(service: Service) -> None:
        with httpx.Client(base_url=service.url, timeout=30) as http:
            while not stop.is_set():
                reply = http.post("/predict/a", content=digit)
                answers.append((reply.status_code, reply.headers.get("x-served-by", reply.text)))

    with running("--repository", two_versions, "--routes", path) as service:

        def page() -> dict[str, Any]:
            return dict(httpx.get(f"{service.url}/routes").json())

        service.wait_ready()
        threads = [threading.Thread(target=client, args=(service,)) for _ in range(3)]
        for thread in threads:
            thread.start()
        path.write_text(good(2))
        service.wait_until(lambda: "b2" in page()["routes"], 20)
        mark = len(answers)
        for broken, says in (
            ("routes:\n  a: {target: lenet5/1, labels: {no", "line 2"),
            ("routes:\n  a: {target: lenet5/1, weight: 3}\n", "routes.a.weight: unknown key"),
        ):
            path.write_text(broken)
            service.wait_until(lambda says=says: says in (page()["error"] or ""), 20)  # type: ignore[misc]  # a lambda with a default
            assert set(page()["routes"]) == {"a", "b2"}
            assert "model_server_routes_valid 0.0" in httpx.get(f"{service.url}/metrics").text
        path.unlink()
        service.wait_until(lambda: "No such file" in (page()["error"] or ""), 20)
        wait_for_more(answers)
        kept = answers[mark:]
        staged = path.with_suffix(".new")
        staged.write_text(good(1))
        staged.rename(path)
        service.wait_until(lambda: page()["error"] is None and set(page()["routes"]) == {"a", "b1"}, 20)
        last = len(answers) + len(threads)
        wait_for_more(answers, len(threads) * 2 + 5)
        stop.set()
        for thread in threads:
            thread.join()
        assert {status for status, _ in answers} == {200}
        assert {by for _, by in answers} == {"lenet5/1", "lenet5/2"}
        assert {by for _, by in kept} == {"lenet5/2"}, "what is broken or gone changes nothing"
        assert {by for _, by in answers[last:]} == {"lenet5/1"}
        assert service.log().count("unknown key") == 1, "said once, not every second"
        assert service.stop() == 0


def wait_for_more(answers: list[tuple[int, str]], more: int = 10) -> None:
    wanted, give_up = len(answers) + more, time.monotonic() + 30
    while len(answers) < wanted:
        assert time.monotonic() < give_up
        time.sleep(0.01)


@pytest.mark.slow
def test_a_file_written_slowly_is_never_half_applied(two_versions: Path, digit: bytes, tmp_path: Path) -> None:
    """Every prefix ending at a line is valid YAML, and would lose routes."""
    path = tmp_path / "routes.yaml"
    before = "routes:\n" + "".join(f"  r{n}: lenet5/1\n" for n in range(20))
    after = before.replace("lenet5/1", "lenet5/2")
    path.write_text(before)

    with running("--repository", two_versions, "--routes", path) as service:

        def state() -> set[tuple[int, str]]:
            routes = httpx.get(f"{service.url}/routes").json()["routes"]
            return {(len(routes), str(route["target"])) for route in routes.values()}

        service.wait_ready()
        seen: set[tuple[int, str]] = set()
        with path.open("w") as file:
            for line in after.splitlines(keepends=True):
                file.write(line)
                file.flush()
                time.sleep(0.15)
                seen |= state()
        assert seen == {(20, "lenet5/1")}
        service.wait_until(lambda: state() == {(20, "lenet5/2")}, 20)
        assert httpx.post(f"{service.url}/predict/r19", content=digit).headers["x-served-by"] == "lenet5/2"


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(
    ("content", "says"),
    [
        (None, "No such file"),
        ("routes:\n  a:\n    spilt: [b]\n", "line 3, routes.a.spilt: unknown key; did you mean 'split'?"),
        ("routes: {a: b, b: a}\n", "a -> b -> a"),
    ],
)
def test_a_bad_file_at_the_start_is_one_line_and_exit_code_1(
    tmp_path: Path, content: str | None, says: str, workers: int
) -> None:
    path = tmp_path / "routes.yaml"
    if content is not None:
        path.write_text(content)
    done = subprocess.run(
        [sys.executable, "-m", "service", "--routes", str(path), "--workers", str(workers)],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, "SERVICE_HTTP_PORT": "0", "SERVICE_GRPC_PORT": "0"},
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("python -m service: ") and str(path) in line and says in line


def test_a_worker_that_dies_while_the_file_is_broken_comes_back_with_the_routes_in_force(
    two_versions: Path, digit: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "routes.yaml"
    path.write_text("routes: {a: lenet5/1}")
    with running("--repository", two_versions, "--routes", path, "--workers", 2) as service:
        service.wait_until(lambda: "all 2 workers are ready" in service.log())
        path.write_text("routes: {a: ")
        for pid in children(service.process.pid):
            os.kill(pid, signal.SIGKILL)
        service.wait_until(lambda: service.log().count("gRPC on port") >= 4)
        reply = httpx.post(f"{service.url}/predict/a", content=digit)
        assert reply.status_code == 200 and reply.headers["x-served-by"] == "lenet5/1"
        assert str(path) in httpx.get(f"{service.url}/routes").json()["error"]
        assert service.stop() == 0
