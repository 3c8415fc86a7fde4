"""One service after another on the same ports, at once, and how the first one leaves: real processes, live clients."""

import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
from collections import Counter
from contextlib import ExitStack, suppress
from pathlib import Path

import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from tests.support.certificates import Authority
from tests.support.service_process import Service, running

FAKE = ("--backend", "fake")  # loads nothing: what is tested is sockets and processes


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1)])
def test_a_restart_gets_its_ports_at_once(before: int, after: int, end: signal.Signals) -> None:
    """With clients that were connected, idle and not, over both protocols."""
    with ExitStack() as stack:
        service = stack.enter_context(running(*FAKE, "--workers", before))
        service.wait_ready()
        ports = ("--http-port", service.http_port, "--grpc-port", grpc_port(service))
        clients = [stack.enter_context(httpx.Client(base_url=service.url)) for _ in range(8)]
        assert all(client.get("/healthz").status_code == 200 for client in clients)
        silent = [stack.enter_context(socket.create_connection(("127.0.0.1", service.http_port))) for _ in range(8)]
        channel = stack.enter_context(grpc.insecure_channel(f"127.0.0.1:{ports[3]}"))
        health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=30)
        assert service.stop(end) == (0 if end is signal.SIGTERM else -end)
        again = stack.enter_context(running(*FAKE, "--workers", after, *ports))
        again.wait_ready()
        assert all(client.get("/healthz").status_code == 200 for client in clients)
        assert len(silent) == 8 and again.stop() == 0


def grpc_port(service: Service) -> int:
    service.wait_until(lambda: re.search(r"gRPC on port (\d+)", service.log()) is not None)
    return service.grpc_port


def test_equal_ports_are_one_line(tmp_path: Path) -> None:
    arguments = [*FAKE, "--http-port", "4242", "--grpc-port", "4242"]
    done = subprocess.run([sys.executable, "-m", "service", *arguments], capture_output=True, text=True, timeout=60)
    [line] = done.stderr.splitlines()
    assert done.returncode == 2 and "--http-port" in line and "--grpc-port" in line and "4242" in line


@pytest.mark.parametrize(("workers", "tls"), [(1, False), (2, False), (1, True)])
def test_no_new_connection_is_lost_at_sigterm(workers: int, tls: bool, tmp_path: Path) -> None:
    assert outcomes(workers, 300, tmp_path if tls else None)["lost"] == 0


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
def test_no_new_connection_is_lost_over_ten_sigterms(workers: int) -> None:
    total = sum((outcomes(workers, 300) for _ in range(10)), Counter[str]())
    assert total["answered"] >= 3_000 and total["lost"] == 0, total


def outcomes(workers: int, before: int, tls: Path | None = None) -> Counter[str]:
    """Of requests over a connection each, from 16 clients without pause, `before` answers before SIGTERM and all after:
    answered, refused (which nobody mistakes for an accepted request), or lost. With a folder for certificates over TLS.
    """
    seen: list[str] = []
    enough, over = threading.Event(), threading.Event()
    arguments = [*FAKE, "--workers", workers]
    context = ssl.create_default_context()
    if tls is not None:
        certificate, key = Authority("test").signs("server").write(tls, "server")
        arguments += ["--tls-cert", certificate, "--tls-key", key]
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE

    def ask(wire: socket.socket) -> bytes:
        received = b""
        with suppress(OSError):  # as a whole answer, or as none
            if tls is not None:
                wire = context.wrap_socket(wire)
            wire.sendall(b"GET /healthz HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            while chunk := wire.recv(65536):
                received += chunk
        return received

    def client(port: int) -> None:
        while not over.is_set():
            try:
                wire = socket.create_connection(("127.0.0.1", port), timeout=20)
            except ConnectionRefusedError:
                seen.append("refused")
                over.set()
                return
            with wire:
                seen.append("answered" if ask(wire).endswith(b'{"status":"alive"}') else "lost")
            if len(seen) >= before:
                enough.set()

    with running(*arguments) as service:
        service.wait_until(lambda: "ready, serving" in service.log())
        threads = [threading.Thread(target=client, args=(service.http_port,)) for _ in range(16)]
        for thread in threads:
            thread.start()
        assert enough.wait(60), Counter(seen)
        assert service.stop() == 0
        for thread in threads:
            thread.join()
    return Counter(seen)
