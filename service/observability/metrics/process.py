"""The Prometheus series of the processes: their versions, memory, processor time and files."""

import platform
from collections.abc import Iterable

import psutil
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from service import version as about
from service.host import processes

_ENGINES = ("ai-edge-litert", "tensorflow", "grpcio", "fastapi")


class ProcessMetrics(Collector):
    """Of this process, or of all workers of `parent`."""

    def __init__(self, parent: int | None) -> None:
        self._parent = parent
        engines = {name.replace("-", "_"): about.find_version(name) for name in _ENGINES}
        self._build = {"version": about.version(), "python": platform.python_version(), **engines}

    def collect(self) -> Iterable[Metric]:
        yield InfoMetricFamily("model_server_build", "What is running here.", self._build)
        try:
            now = processes.measure(self._parent)
        except psutil.Error:  # the parent is gone
            return
        yield CounterMetricFamily("process_cpu_seconds", "Processor time, of all workers.", now.cpu_seconds)
        yield GaugeMetricFamily("process_resident_memory_bytes", "Memory in RAM, of all workers.", now.resident_bytes)
        yield GaugeMetricFamily("process_open_fds", "Open files and sockets, of all workers.", now.open_files)
        yield GaugeMetricFamily("process_max_fds", "Most open files and sockets of one process.", now.most_files)
        yield GaugeMetricFamily("process_start_time_seconds", "When the service was started, Unix time.", now.started)
