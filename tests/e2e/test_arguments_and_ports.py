"""What the command line refuses, and whose port it is."""

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.service_process import Service, running


@pytest.fixture
def service(lenet5_repository: Path) -> Iterator[Service]:
    with running("--repository", lenet5_repository) as service:
        service.wait_ready()
        yield service


def failing(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, **(env or {})},
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--http-port", "eighty"], "invalid --http-port: expected a whole number, got 'eighty'"),
        (["--http-port", "70000"], "expected a number less than or equal to 65535, got '70000'"),
        (["--backend", "triton"], "expected 'embedded', 'tfserving' or 'fake', got 'triton'"),
        (["--target-tls-ca", "/gone.pem"], "expected a file, got '/gone.pem'"),
        (["--backend", "tfserving"], "--target"),
        (["--target", "host:8500"], "--backend tfserving"),
        (["--keep-versions", "0"], "--keep-versions"),
        (["--no-such-flag"], "unrecognized arguments: --no-such-flag; see --help"),
        (["--port", "80"], "unrecognized arguments: --port 80 (did you mean --http-port or --grpc-port?); see --help"),
    ],
)
def test_wrong_arguments_end_in_one_clear_line(arguments: list[str], says: str) -> None:
    code, error = failing(*arguments)
    assert code == 2 and says in error.splitlines()[-1] and "Traceback" not in error


@pytest.mark.parametrize(
    ("env", "arguments", "says"),
    [
        ({"SERVICE_HTTP_PORT": "eighty"}, [], "--http-port: .*SERVICE_HTTP_PORT"),
        (
            {"service_workers": "0"},
            ["--http-port", "70000"],
            r"--http-port: [^;(]*; invalid --workers: [^;]*\(set by service_workers\)",
        ),
        ({"SERVICE_TARGET": "host:8500"}, [], "--backend tfserving and --target .*set by SERVICE_TARGET"),
        ({"SERVICE_HTTP_PORT": "4242"}, ["--grpc-port", "4242"], r"--grpc-port .*set by SERVICE_HTTP_PORT\)"),
    ],
)
def test_a_wrong_setting_names_the_environment_variable_it_came_from(
    env: dict[str, str], arguments: list[str], says: str
) -> None:
    code, error = failing(*arguments, env=env)
    [line] = error.splitlines()
    assert code == 2 and re.search(says, line)


def test_the_command_line_goes_before_the_environment(tmp_path: Path) -> None:
    code, error = failing("--http-port=eighty", env={"SERVICE_HTTP_PORT": "also wrong"})
    assert code == 2 and "--http-port" in error and "SERVICE_HTTP_PORT" not in error


@pytest.mark.parametrize("flag", ["--http-port", "--grpc-port"])
def test_a_taken_port_says_which_and_what_to_do(flag: str, tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        arguments = {"--http-port": "0", "--grpc-port": "0", flag: str(port)}
        code, error = failing("--host", "127.0.0.1", "--repository", str(tmp_path), *sum(arguments.items(), ()))
    assert code == 1 and f"127.0.0.1:{port}" in error and flag in error and "Traceback" not in error


@pytest.mark.parametrize("which", ["http", "grpc"])
def test_a_second_service_on_the_same_port_leaves_the_first_alone(service: Service, which: str, tmp_path: Path) -> None:
    ports = {"--http-port": "0", "--grpc-port": "0"}
    ports[f"--{which}-port"] = str(service.http_port if which == "http" else service.grpc_port)
    code, error = failing("--host", "127.0.0.1", "--repository", str(tmp_path), *sum(ports.items(), ()))
    assert code == 1 and "in use" in error
    assert httpx.get(f"{service.url}/readyz").status_code == 200


@pytest.mark.parametrize("workers", [1, 2])
def test_a_start_that_is_open_to_other_machines_says_so_once(workers: int) -> None:
    with running("--backend", "fake", "--workers", workers, "--host", "0.0.0.0") as service:
        service.wait_ready()
        assert service.log().count("nobody needs a key") == 1
