"""The composition root: the only file that names concrete classes."""

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from service.backends.base import Backend, Loaded
from service.backends.batch_sharing import BatchSharing
from service.backends.embedded.profile_store import ProfileStore
from service.batching.admission import Bounds
from service.batching.batcher import Batcher
from service.batching.cost_model import cost
from service.batching.policy import ByDeadline
from service.host.cpu import cores
from service.host.fair_queue import Places
from service.host.file_watcher import Contents, FileWatcher, ReloadError
from service.host.sockets import StartError
from service.models.executor import Answering
from service.models.registry import Catalog
from service.models.singleflight import Coalescing
from service.observability.access_log import Access
from service.observability.context import Tracing
from service.observability.metrics.registry import Metrics, Shared
from service.predictor import Predictor
from service.preprocessing.limits import ImageLimits
from service.preprocessing.preprocessor import Limits, Preparation
from service.repository.repository import Repository
from service.repository.version_files import VersionFiles
from service.routing.router import Router
from service.routing.routes_file import RoutesFile
from service.security import api_keys
from service.security.authorizer import Gate
from service.security.tls import Certificates
from service.server.worker import Worker
from service.settings import BackendName, Settings
from service.types import DEFAULT_SIGNATURE, ModelRef

_OTLP = "http/protobuf"


@dataclass(frozen=True, slots=True)
class Core:
    """Everything behind the edges."""

    catalog: Catalog
    preparation: Preparation
    predictor: Predictor
    metrics: Metrics
    access: Access
    tracing: Tracing | None
    gate: Gate
    tls: Certificates | None
    files: VersionFiles | None
    watchers: tuple[FileWatcher, ...]


def build(settings: Settings, worker: Worker | None = None) -> Core:
    """Needs a running event loop; loads no model yet. Raises StartError."""
    metrics = Metrics(Shared(worker.number, worker.folder, worker.parent) if worker else None)
    embedded = settings.backend is BackendName.embedded
    policy = ByDeadline(settings.max_batch_rows, settings.max_batch_delay_ms / 1000)
    waiting = settings.max_queued_mb * 10**6
    places = Places(cores())

    def batcher(loaded: Loaded) -> Batcher:
        manifest, slots = loaded.manifest, loaded.runner.slots
        ref = ModelRef(manifest.name, manifest.version)
        # An upstream's models share an upstream's cores, and take there what nobody has measured yet.
        profile = manifest.profile if embedded else None
        return Batcher(
            loaded.runner,
            policy,
            Bounds(settings.max_queued_rows, waiting),
            lambda signature: cost(profile.milliseconds.get(signature) if profile else None),
            sharing=BatchSharing(ref, loaded.unshared),
            usual=recipe.image_signature if (recipe := manifest.preprocessing) else DEFAULT_SIGNATURE,
            # Upstreams bound themselves, by slots that come and go with the replicas.
            places=places if embedded else Places(sys.maxsize),
            cores=max(1, cores() // slots) if embedded else 1,
            events=metrics.batches(ref),
        )

    gate = Gate(metrics, worker.folder if worker else None)
    tls = None
    watchers = []
    try:
        routes = RoutesFile(settings.routes, metrics, worker.folder / "routes" if worker else None)
        if routes.watcher is not None:
            watchers.append(routes.watcher)
        if settings.api_keys is not None:
            watchers.append(_watch_keys(settings.api_keys, gate, metrics))
        if settings.tls_cert is not None and settings.tls_key is not None:
            tls, files = Certificates(), (settings.tls_cert, settings.tls_key, settings.tls_client_ca)
            watchers.append(_watch_certificates(*files, tls, metrics))
    except ReloadError as error:
        raise StartError(str(error)) from error
    backend, passed_over = _backend(settings, metrics)
    catalog = Catalog(
        backend,
        batcher,
        metrics,
        keep=settings.keep_versions,
        needs_models=settings.backend is not BackendName.tfserving,
        shows=gate.shows,
        passed_over=passed_over,
        # More than there are cores: some read files meanwhile, and one that hangs holds up few others.
        loads=cores() + 4,
    )
    image = ImageLimits(settings.max_pixels, settings.max_image_side, settings.max_decode_ms)
    limits = Limits(settings.max_queued_rows, waiting, settings.max_decoding_mb * 10**6, image)
    preparation = Preparation(limits, threads=cores())
    answering = Answering(catalog, preparation, Coalescing() if settings.coalesce else None, metrics.coalesced)
    router = Router(answering, routes, metrics, gate.shows)
    tracing = _tracing(settings)
    awaited = worker.describe_awaited if worker else str
    slo = settings.latency_slo_ms / 1000 or None
    bounds = (settings.max_in_flight, slo)
    predictor = Predictor(catalog, router, metrics, gate, *bounds, tracing, awaited, settings.max_queued_rows)
    metrics.follow_readiness(lambda: not predictor.find_trouble())
    access = Access(metrics, settings.access_log)
    beside = None if settings.backend is BackendName.fake else VersionFiles(Repository(settings.repository))
    return Core(catalog, preparation, predictor, metrics, access, tracing, gate, tls, beside, tuple(watchers))


def _watch_keys(path: Path, gate: Gate, metrics: Metrics) -> FileWatcher:
    """Raises ReloadError."""

    def apply(contents: Contents) -> None:
        try:
            gate.replace(api_keys.parse(contents[0]))
        except api_keys.KeysError as error:
            raise ReloadError(f"{path}: {error}") from error

    return FileWatcher("API keys", (path,), apply, partial(metrics.guards.reloaded, "API keys"))


def _watch_certificates(
    certificate: Path, key: Path, client_ca: Path | None, certificates: Certificates, metrics: Metrics
) -> FileWatcher:
    """Raises ReloadError."""
    paths = (certificate, key) if client_ca is None else (certificate, key, client_ca)
    report = partial(metrics.guards.reloaded, "certificates")
    return FileWatcher("certificates", paths, lambda contents: certificates.renew(*contents), report)


def _backend(settings: Settings, metrics: Metrics) -> tuple[Backend, Callable[[], Mapping[str, str]]]:
    """And what it passes over: path -> why nothing is served from there. Raises StartError."""
    if settings.backend is BackendName.fake:
        from service.backends import fake

        return fake.make_instant(), dict
    repository = Repository(settings.repository)
    if settings.backend is BackendName.embedded:
        from service.backends.embedded.backend import EmbeddedBackend
        from service.backends.embedded.engines import Engines

        try:
            engines = Engines(settings.engine, settings.precision)
        except ValueError as error:
            raise StartError(str(error)) from error
        profiles = ProfileStore.at(settings.cache_dir)
        embedded = EmbeddedBackend(repository, profiles, engines, foreign=settings.foreign_models)
        return embedded, lambda: embedded.passed_over
    from service.backends.tfserving import targets
    from service.backends.tfserving.backend import TFServingBackend, Upstreams

    upstreams = Upstreams(
        targets.parse(settings.target),
        connections=settings.target_connections,
        patience=settings.target_timeout_seconds,
        hedge_after=settings.hedge_delay_ms / 1000 or None,
        tls_ca=settings.target_tls_ca,
    )
    try:
        backend = TFServingBackend(upstreams, repository if settings.repository.is_dir() else None)
    except ValueError as error:
        raise StartError(str(error)) from error
    metrics.replicas.follow(backend.report_replicas)
    return backend, dict


def _tracing(settings: Settings) -> Tracing | None:
    """OpenTelemetry's own variables turn traces on too. Raises StartError where they ask for what is not here."""
    named = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    asked = settings.otlp_endpoint or any(map(os.environ.get, named))
    off = os.environ.get("OTEL_SDK_DISABLED", "").lower() == "true" or os.environ.get("OTEL_TRACES_EXPORTER") == "none"
    if not asked or off:
        return None
    for name in ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"):
        if os.environ.get(name, _OTLP) != _OTLP:
            raise StartError(f"{name}={os.environ[name]}: traces leave as {_OTLP} only, usually to port 4318; unset it")
    try:
        from service.observability.tracing import OtlpTracing
    except ModuleNotFoundError as error:
        raise StartError(f"traces need OpenTelemetry ({error}): pip install 'image-model-server[tracing]'") from error
    return OtlpTracing(settings.otlp_endpoint)
