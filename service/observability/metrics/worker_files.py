"""The numbers of several workers: each keeps its own in files, and whichever is scraped adds all of them up.

The files are named after the worker's number and outlive it, so a restarted worker counts on. A version's series lie in
files of their own, which are removed with the version: `prometheus_client` can neither take a series out of a file nor
free the memory of one.
"""

import os
import warnings
from collections.abc import Iterable
from hashlib import sha256
from pathlib import Path
from typing import Any

from prometheus_client.metrics_core import Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector
from prometheus_client.values import MultiProcessValue

STATES = ("model_server_version_state", "model_server_version_failed")
"""Above 0 for the versions that a worker has, or could not load."""

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"

# prometheus_client ships no types for its multiprocess part.


class WorkerFiles:
    """One worker's files in `folder`; takes the place of `prometheus_client.values.ValueClass`."""

    def __init__(self, worker: int, folder: Path) -> None:
        os.environ[_FOLDER] = str(folder)
        # It warns of removals because a file keeps its series; here the file is removed too.
        warnings.filterwarnings("ignore", "Removal of labels", UserWarning)
        self._worker, self._folder = worker, folder
        self._common: Any = MultiProcessValue(lambda: worker)  # type: ignore[no-untyped-call]
        self._by_version: dict[tuple[str, str], Any] = {}

    def __call__(
        self,
        kind: str,
        metric: str,
        name: str,
        label_names: Iterable[str],
        labels: Iterable[str],
        *rest: Any,
        **more: Any,
    ) -> Any:
        """A new number, in the file that its labels choose; the arguments are those of a `ValueClass`."""
        label_names, labels = tuple(label_names), tuple(labels)
        named = dict(zip(label_names, labels, strict=True))
        model, version = named.get("model", ""), named.get("version", "")
        make = self._common
        if version:
            make = self._by_version.get((model, version))
            if make is None:
                identifier = f"{self._worker}.{_digest(model, version)}"
                make = MultiProcessValue(lambda: identifier)  # type: ignore[no-untyped-call]
                self._by_version[model, version] = make
        return make(kind, metric, name, label_names, labels, *rest, **more)

    def remove(self, model: str, version: str) -> None:
        """Closes and removes a version's files. Its numbers must not be used any more."""
        make = self._by_version.pop((model, version), None)
        if make is not None:
            make.close_all_files()
            for file in self._folder.glob(f"*_{self._worker}.{_digest(model, version)}.db"):
                file.unlink(missing_ok=True)

    def remove_orphans(self) -> None:
        """Removes what this worker's predecessors left of versions that this worker does not count for."""
        own = {_digest(*version) for version in self._by_version}
        for file in self._folder.glob(f"*_{self._worker}.*.db"):
            if file.name.split(".")[-2] not in own:
                file.unlink(missing_ok=True)


class WorkersCollector(Collector):
    """The sums over all workers' files, without versions that no worker has or has failed to load."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        metrics = self._read()
        living = {
            (sample.labels["model"], sample.labels["version"])
            for metric in metrics
            if metric.name in STATES
            for sample in metric.samples
            if sample.value
        }
        for metric in metrics:
            metric.samples = [
                sample
                for sample in metric.samples
                if not sample.labels.get("version") or (sample.labels.get("model"), sample.labels["version"]) in living
            ]
        return metrics

    def _read(self) -> list[Metric]:
        while True:
            files = [str(file) for file in self._folder.glob("*.db") if _size(file)]
            try:
                return list(MultiProcessCollector.merge(files))  # type: ignore[no-untyped-call]
            except FileNotFoundError:  # a worker has just removed a version's
                continue


def forget_worker(worker: int, folder: Path) -> None:
    """Removes the gauges of a dead worker; its counters stay."""
    for identifier in (str(worker), f"{worker}.*"):
        mark_process_dead(identifier, str(folder))  # type: ignore[no-untyped-call]


def _digest(model: str, version: str) -> str:
    return sha256(f"{model}\0{version}".encode()).hexdigest()[:16]


def _size(file: Path) -> int:
    """Bytes; 0 for a file that is gone. One that a worker has just created is empty for a moment."""
    try:
        return file.stat().st_size
    except FileNotFoundError:
        return 0
