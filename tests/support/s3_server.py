"""A real server that speaks S3, in a process of its own on the loopback."""

import os
import re
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Bucket:
    """`url` names it; `env` is what a program needs to reach it."""

    url: str
    env: Mapping[str, str]


@contextmanager
def bucket(**server_env: str) -> Iterator[Bucket]:
    """A new, empty one."""
    with tempfile.TemporaryDirectory() as folder:
        log_file = Path(folder, "log")
        with log_file.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"],
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **server_env},
            )
        try:
            endpoint = _endpoint(process, log_file)
            # moto takes anybody's signature; without one it does not know which service is asked.
            created = urllib.request.Request(f"{endpoint}/models", method="PUT")
            created.add_header("Authorization", "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/s3/aws4_request")
            urllib.request.urlopen(created, timeout=10).close()
            env = {
                "AWS_ACCESS_KEY_ID": "test",
                "AWS_SECRET_ACCESS_KEY": "test",
                "AWS_REGION": "us-east-1",
                "AWS_ENDPOINT_URL": endpoint,
                "AWS_ALLOW_HTTP": "true",
            }
            yield Bucket("s3://models/production", env)
        finally:
            process.kill()
            process.wait()


def _endpoint(process: "subprocess.Popen[bytes]", log_file: Path) -> str:
    deadline = time.monotonic() + 60
    while (match := re.search(r"http://127\.0\.0\.1:\d+", log_file.read_text())) is None:
        assert process.poll() is None and time.monotonic() < deadline, log_file.read_text()
        time.sleep(0.05)
    return match[0]
