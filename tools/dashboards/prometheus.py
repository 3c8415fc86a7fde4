"""A real Prometheus of our own: started on a free port, asked over its API, gone at the end."""

import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from pathlib import Path
from typing import Any, Self

_START_SECONDS = 60.0
_STEP = 1.0


class PrometheusMissing(Exception):
    """There is no such program here."""


@dataclass(frozen=True, slots=True)
class Series:
    """`points` are (Unix time, value), finite ones only."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]


def program(name: str) -> str:
    """Raises PrometheusMissing."""
    found = shutil.which(name)
    if found is None:
        raise PrometheusMissing(f"there is no {name} here: apt-get install prometheus")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Prometheus:
    """Scrapes `targets` (host:port) every second as the job `gateway`, and evaluates `rules` as often."""

    def __init__(self, targets: Sequence[str], rules: Path) -> None:
        self._targets, self._rules = targets, rules
        self._program = program("prometheus")
        self._url = f"http://127.0.0.1:{free_port()}"

    def __enter__(self) -> Self:
        self._folder = tempfile.TemporaryDirectory()
        folder = Path(self._folder.name)
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(self._rules)],
            "scrape_configs": [{"job_name": "gateway", "static_configs": [{"targets": list(self._targets)}]}],
        }
        (folder / "prometheus.yaml").write_text(json.dumps(config))  # JSON is YAML
        self._log = (folder / "log").open("w+")
        self._process = subprocess.Popen(
            [
                self._program,
                f"--config.file={folder / 'prometheus.yaml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={self._url.removeprefix('http://')}",
            ],
            stdout=self._log,
            stderr=subprocess.STDOUT,
        )
        deadline = time.monotonic() + _START_SECONDS
        while not self._ready():
            if self._process.poll() is not None or time.monotonic() > deadline:
                self._log.seek(0)
                said = self._log.read()[-2000:]
                self.__exit__()
                raise RuntimeError(f"Prometheus did not start:\n{said}")
            time.sleep(0.1)
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()
        self._log.close()
        self._folder.cleanup()

    def range(self, expression: str, start: float, end: float, step: float = _STEP) -> list[Series]:
        """Raises ValueError for an expression that it refuses."""
        found = self._ask("query_range", query=expression, start=start, end=end, step=step)["result"]
        series = []
        for one in found:
            points = [(when, float(value)) for when, value in one["values"] if isfinite(float(value))]
            if points:
                series.append(Series(one["metric"], points))
        return series

    def names(self) -> set[str]:
        """Of all series that there are."""
        return set(self._ask("label/__name__/values"))

    def broken_rules(self) -> list[str]:
        """Rules whose evaluation failed, each with why."""
        rules = [rule for group in self._ask("rules")["groups"] for rule in group["rules"]]
        return [f"{rule['name']}: {rule.get('lastError')}" for rule in rules if rule["health"] == "err"]

    def firing(self) -> set[str]:
        """Names of the alerts that fire or are about to."""
        return {alert["labels"]["alertname"] for alert in self._ask("alerts")["alerts"]}

    def _ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self._url}/-/ready", timeout=2) as reply:
                return bool(reply.status == 200)
        except OSError:
            return False

    def _ask(self, path: str, **parameters: object) -> Any:
        query = urllib.parse.urlencode(parameters)
        try:
            with urllib.request.urlopen(f"{self._url}/api/v1/{path}?{query}", timeout=30) as reply:
                return json.load(reply)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error).get("error", str(error))) from error
