"""`python -m export.tfserving`: TensorFlow Serving's configuration files, from the manifests of a repository.

`models.config`, `batching.config` and `monitoring.config` are three flags' files. `batching_params.pbtxt` goes into
each version's folder, beside `saved_model.pb`: that is where TensorFlow Serving looks for it with
`--enable_per_model_batching_parameters` (`GetPerModelBatchingParams` in its `bundle_factory_util.cc`). A version
without one is then not batched at all.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from export.errors import ExportError, UsageError
from service.plurals import format_items

if TYPE_CHECKING:  # `--help` answers at once
    from export.tfserving.batching import Batching
    from service.repository.manifest import Manifest, Profile

MODELS, BATCHING, MONITORING = "models.config", "batching.config", "monitoring.config"
PER_MODEL = "batching_params.pbtxt"

_BFLOAT16 = "TF_SET_ONEDNN_FPMATH_MODE=BF16"
_GPU_THREADS = 2  # one batch computes while the next is handed over


@dataclass(frozen=True, slots=True)
class Version:
    name: str
    number: int
    folder: Path
    manifest: "Manifest | None"
    warmups: int
    batching: "Batching | None"


def read(repository: Path, keep: int, batching: "Batching | None", slo_ms: float) -> list[Version]:
    """The newest `keep` versions of each model; batched as `batching` says, or else as their profiles do.

    Raises ExportError where there are none, or one cannot be read.
    """
    from export.tfserving.batching import for_cpu
    from service.errors import NotReady
    from service.protobuf import warmup
    from service.repository.manifest import WARMUP, Manifest
    from service.repository.repository import Repository

    versions = []
    try:
        found = Repository(repository).scan()
        for name, numbers in found.items():
            for number in sorted(numbers, reverse=True)[:keep]:
                folder = Repository(repository).folder(name, number)
                manifest = Manifest.read(folder, name, number)
                warmups = sum(1 for _ in warmup.read_warmup(folder / WARMUP)) if (folder / WARMUP).is_file() else 0
                chosen = batching if manifest is not None else None
                if chosen is None and manifest is not None and (profile := manifest.profile) is not None:
                    chosen = for_cpu(profile, _costly(manifest, profile), slo_ms)
                versions.append(Version(name, number, folder, manifest, warmups, chosen))
    except (NotReady, ValueError) as error:
        raise ExportError(str(error)) from error
    if not versions:
        raise ExportError(f"{repository} holds no model; export one with `python -m export --repository {repository}`")
    return versions


def _costly(manifest: "Manifest", profile: "Profile") -> str:
    """The signature that was measured and costs the most."""
    measured = {name: by_rows for name, by_rows in profile.milliseconds.items() if by_rows}
    if not measured:
        raise ExportError(f"{manifest.name}/{manifest.version}: its profile is empty; export it again")
    return max(measured, key=lambda name: measured[name][min(measured[name])])


def files(versions: Iterable[Version], base_path: str, keep: int, labels: bool, threads: int | None) -> dict[str, str]:
    """Name -> content of the three that a server has once."""
    from export.tfserving import config_protos as config

    models = config.ModelServerConfig()
    by_name: dict[str, list[Version]] = {}
    for version in versions:
        by_name.setdefault(version.name, []).append(version)
    for name, numbered in by_name.items():
        entry = models.model_config_list.config.add(
            name=name, base_path=f"{base_path.rstrip('/')}/{name}", model_platform="tensorflow"
        )
        entry.model_version_policy.latest.num_versions = keep
        for version in reversed(numbered if labels else []):  # the newest of each precision
            if version.manifest is not None and version.manifest.precision:
                entry.version_labels[version.manifest.precision] = version.number
    batching = config.BatchingParameters()
    batching.thread_pool_name.value = "batches"
    if threads is not None:
        batching.num_batch_threads.value = threads
    monitoring = config.MonitoringConfig()
    monitoring.prometheus_config.enable = True
    return {
        name: config.text(file) for name, file in ((MODELS, models), (BATCHING, batching), (MONITORING, monitoring))
    }


def per_model(batching: "Batching") -> str:
    from export.tfserving import config_protos as config

    message = config.BatchingParameters(allowed_batch_sizes=batching.padded)
    message.max_batch_size.value = batching.largest
    message.batch_timeout_micros.value = round(1000 * batching.timeout_ms)
    message.max_enqueued_batches.value = batching.waiting
    return config.text(message)


def write(path: Path, content: str) -> None:
    """Whole or not at all, and not where it says so already: a server that watches the folder would load it again."""
    from service.host.files import write_whole

    try:
        if path.is_file() and path.read_text(encoding="utf-8") == content:
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        write_whole(path, content.encode())
    except OSError as error:
        raise ExportError(f"{path} cannot be written: {error.strerror}") from error


def show(versions: Sequence[Version]) -> None:
    rows = [("model", "version", "precision", "rows a batch", "wait", "may wait", "warm-up")]
    for version in versions:
        limits = version.batching
        batches = (
            (str(limits.largest), f"{limits.timeout_ms:.1f} ms", f"{limits.waiting}")
            if limits
            else ("not batched", "", "")
        )
        precision = version.manifest.precision if version.manifest else ""
        warmup = format_items(version.warmups, "request") if version.warmups else "none: its first requests are slow"
        rows.append((version.name, str(version.number), precision, *batches, warmup))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        "python -m export.tfserving",
        description="Writes TensorFlow Serving's configuration files for the models of a repository.",
        allow_abbrev=False,
    )
    add = parser.add_argument
    add("--repository", type=Path, default=Path("model_repository"), metavar="DIR", help="(default: model_repository)")
    add("--output", type=Path, metavar="DIR", help=f"for {MODELS}, {BATCHING} and {MONITORING} (default: DIR above)")
    add("--base-path", default="/models", metavar="DIR", help="where the server sees the repository (default: /models)")
    add("--keep", type=int, default=2, metavar="N", help="versions of each model that it serves (default: 2)")
    add("--latency-slo-ms", type=float, default=100.0, metavar="MS", help="answers are due within this (default: 100)")
    add("--device", choices=("cpu", "gpu"), default="cpu", help="what the server computes on (default: cpu)")
    add("--max-batch", type=int, default=32, metavar="N", help="largest batch on a GPU (default: 32)")
    add("--batch-threads", type=int, metavar="N", help=f"batches at once (default: its cores, {_GPU_THREADS} on a GPU)")
    add(
        "--bfloat16",
        action="store_true",
        help="the command lets TensorFlow compute float32 in bfloat16 where oneDNN can on the server's processor; "
        "answers then differ",
    )
    add(
        "--labels",
        action="store_true",
        help="each precision is a label of its newest version; then start the server with "
        "--allow_version_labels_for_unavailable_models",
    )
    return parser


def run(given: argparse.Namespace) -> None:
    for name in ("keep", "max_batch", "latency_slo_ms", "batch_threads"):
        if (value := getattr(given, name)) is not None and not value > 0:
            raise UsageError(f"--{name.replace('_', '-')} {value} is not above 0")
    if not given.base_path.startswith("/") and "://" not in given.base_path:
        raise UsageError(f"--base-path {given.base_path!r} is refused by TensorFlow Serving; start it with /")
    from export.tfserving.batching import for_gpu

    gpu = given.device == "gpu"
    if gpu and given.bfloat16:
        raise UsageError("--bfloat16 is about processors; leave it out with --device gpu")
    batching = for_gpu(given.max_batch, given.latency_slo_ms) if gpu else None
    versions = read(given.repository, given.keep, batching, given.latency_slo_ms)
    threads = given.batch_threads or (_GPU_THREADS if gpu else None)
    output = given.output or given.repository
    for name, content in files(versions, given.base_path, given.keep, given.labels, threads).items():
        write(output / name, content)
    for version in versions:
        if version.batching is not None:
            write(version.folder / PER_MODEL, per_model(version.batching))
    show(versions)
    seen = Path(given.base_path) if given.output is None else output
    environment = f"{_BFLOAT16} " if given.bfloat16 else ""
    print(f"\n{environment}tensorflow_model_server --model_config_file={seen / MODELS} \\")
    print(f"  --enable_batching --enable_per_model_batching_parameters --batching_parameters_file={seen / BATCHING} \\")
    print(f"  --rest_api_port=8501 --monitoring_config_file={seen / MONITORING}")


def main() -> int:
    try:
        run(_parser().parse_args())
    except ExportError as error:
        print(f"python -m export.tfserving: {error}", file=sys.stderr)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
