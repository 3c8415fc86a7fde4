"""What manifests tell our programs and TensorFlow Serving, held against the programs themselves."""

import argparse
import contextlib
import importlib
import io
import math
import os
from collections.abc import Iterable, Iterator
from pathlib import PurePosixPath
from unittest.mock import patch

from pydantic import ValidationError
from pydantic_settings import SettingsError

from export.errors import UsageError
from service import settings as service_settings
from service.server import lifecycle
from service.settings import Settings
from tools.k8s_check.pods import Container, Pod, pods
from tools.k8s_check.rendering import Manifest

_PARSERS = {
    "export": "export.__main__",
    "export.tfserving": "export.tfserving.__main__",
    "service sync": "service.sync.command",
}
"""What follows `python -m` -> where its `_parser()` is: the very one that the program uses."""

_SPARE = 5  # seconds for a process to notice, and to go

# Of tensorflow_model_server 2.19: it prints flags that it does not know, and starts without them.
_TENSORFLOW_SERVING = set(
    """allow_version_labels_for_unavailable_models batching_parameters_file enable_batching enable_model_warmup
    enable_per_model_batching_parameters file_system_poll_wait_seconds flush_filesystem_caches grpc_channel_arguments
    grpc_max_threads grpc_socket_path load_retry_interval_micros max_num_load_retries model_base_path
    model_config_file model_config_file_poll_wait_seconds model_name monitoring_config_file num_load_threads
    num_request_iterations_for_warmup num_tflite_interpreters_per_pool num_tflite_pools num_unload_threads
    per_process_gpu_memory_fraction port prefer_tflite_model rest_api_enable_cors_support rest_api_num_threads
    rest_api_port rest_api_timeout_in_ms saved_model_tags ssl_config_file tensorflow_inter_op_parallelism
    tensorflow_intra_op_parallelism tensorflow_session_config_file tensorflow_session_parallelism
    xla_cpu_compilation_enabled xla_gpu_compilation_enabled""".split()  # noqa: SIM905  # a list of one a line hides them
)


def problems(manifests: Iterable[Manifest]) -> Iterator[str]:
    for pod in pods(manifests):
        for container in pod.containers():
            name = f"{pod.kind} {pod.name}, {container.name}"
            if container.program == "service":
                yield from (f"{name}: {problem}" for problem in _gateway(pod, container))
            elif container.program in _PARSERS:
                found = argument_problems(container.program, container.arguments)
                yield from (f"{name}: {problem}" for problem in found)
            elif container.spec.get("command") == ["tensorflow_model_server"]:
                yield from (f"{name}: {problem}" for problem in _tensorflow_serving(container))
            yield from (f"{name}: {problem}" for problem in _paths(container))


def settings(container: Container) -> Settings:
    """As `python -m service` makes them of these arguments, in a container's environment. Raises ValueError."""
    environment = {entry["name"]: entry["value"] for entry in container.spec.get("env", []) if "value" in entry}
    with patch.dict(os.environ, environment, clear=True):
        try:
            return service_settings.parse(container.arguments)
        except (ValidationError, SettingsError, SystemExit) as error:
            raise ValueError(f"python -m service refuses {' '.join(container.arguments)}: {error}") from error


def ending_seconds(given: Settings) -> float:
    """From SIGTERM, at most: draining, what is under way, unloading."""
    return given.drain_seconds + lifecycle.GRACE + lifecycle.UNLOAD


def _gateway(pod: Pod, container: Container) -> Iterator[str]:
    try:
        given = settings(container)
    except ValueError as error:
        yield str(error)
        return
    ports = {"http": given.http_port, "grpc": given.grpc_port}
    if container.ports() != ports:
        yield f"its ports are {container.ports()}, the service's {ports}"
    scheme = "HTTPS" if given.tls_cert else "HTTP"
    for probe, path in (("startupProbe", "/healthz"), ("livenessProbe", "/healthz"), ("readinessProbe", "/readyz")):
        asked = container.spec.get(probe, {}).get("httpGet")
        if asked is None:
            continue  # the policy's matter
        if asked["path"] != path:
            yield f"{probe} asks {asked['path']}, and means {path}"
        if asked.get("scheme", "HTTP") != scheme:
            yield f"{probe} speaks {asked.get('scheme', 'HTTP')}, the service {scheme}"
    pause = container.spec.get("lifecycle", {}).get("preStop", {}).get("sleep", {}).get("seconds", 0)
    needed = pause + ending_seconds(given) + _SPARE
    grace = pod.spec.get("terminationGracePeriodSeconds", 30)
    if pod.kind != "ServingRuntime" and grace < needed:
        yield f"terminationGracePeriodSeconds is {grace}: preStop, drain and the rest take up to {needed:.0f}"
    limit = float(container.spec["resources"]["limits"]["cpu"])
    if not limit.is_integer():
        yield f"limits.cpu is {limit:g}: {math.ceil(limit)} threads are started, which would stand still by turns"


def argument_problems(program: str, arguments: list[str]) -> Iterator[str]:
    """What `python -m PROGRAM` says to them. Where they are $(NAME) of a ConfigMap, what it holds is another matter."""
    parser: argparse.ArgumentParser = importlib.import_module(_PARSERS[program])._parser()
    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            parser.parse_args(arguments)
    except (SystemExit, UsageError) as error:
        why = said.getvalue().strip().rpartition("\n")[2] or error
        yield f"python -m {program} refuses {' '.join(arguments)}: {why}"


def _tensorflow_serving(container: Container) -> Iterator[str]:
    flags = dict(argument.removeprefix("--").partition("=")[::2] for argument in container.arguments)
    yield from (f"tensorflow_model_server has no flag --{flag}" for flag in sorted(flags.keys() - _TENSORFLOW_SERVING))
    for flag, port in (("port", "grpc"), ("rest_api_port", "http")):
        asked, there = int(flags[flag]), container.ports()
        if asked and asked not in there.values():
            yield f"--{flag}={asked} is none of its ports {there} ({port})"
    threads = flags.get("tensorflow_intra_op_parallelism")
    limits = container.spec["resources"]["limits"]
    if "nvidia.com/gpu" not in limits and threads != limits["cpu"]:
        yield f"--tensorflow_intra_op_parallelism={threads} is not limits.cpu, {limits['cpu']}"


def _paths(container: Container) -> Iterator[str]:
    """A path in an argument lies in something mounted: the root file system holds programs only."""
    mounts = [PurePosixPath(mount["mountPath"]) for mount in container.spec.get("volumeMounts", [])]
    if "kserve" in container.name:
        mounts.append(PurePosixPath("/mnt/models"))  # KServe's
    for argument in container.arguments:
        path = argument.rpartition("=")[2].removeprefix("unix:")
        if path.startswith("/") and not path.startswith("/app/"):  # /app: in the images
            within = (PurePosixPath(path), *PurePosixPath(path).parents)
            if not any(mount in within for mount in mounts):
                yield f"{argument}: nothing is mounted there"
