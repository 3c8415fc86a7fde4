"""The composition root: the only file that names concrete classes."""

from dataclasses import dataclass

from service.answering import Answering
from service.backends.base import Backend, Loaded
from service.backends.embedded import EmbeddedBackend
from service.batching import Batcher
from service.catalog import Catalog
from service.messages import ModelRef
from service.metrics import Metrics
from service.policy import SizeAndDelay
from service.predictor import Predictor
from service.preparation import Limits, Preparation
from service.profiles import ProfileStore, cores
from service.repository import Repository
from service.settings import BackendName, Settings


@dataclass(frozen=True, slots=True)
class Core:
    """Everything behind the edges."""

    catalog: Catalog
    preparation: Preparation
    predictor: Predictor
    metrics: Metrics


def build(settings: Settings) -> Core:
    """Needs a running event loop; loads nothing yet."""
    metrics = Metrics()
    policy = SizeAndDelay(settings.max_batch_rows, settings.max_batch_delay_ms / 1000)

    def batcher(loaded: Loaded) -> Batcher:
        ref = ModelRef(loaded.manifest.name, loaded.manifest.version)
        return Batcher(loaded.runner, policy, settings.max_queued_rows, lambda rows: metrics.batch(ref, rows))

    embedded = settings.backend is BackendName.embedded
    catalog = Catalog(_backend(settings), batcher, metrics, keep=settings.keep_versions, needs_models=embedded)
    preparation = Preparation(Limits(settings.max_queued_rows, settings.max_pixels), threads=cores())
    predictor = Predictor(catalog, Answering(catalog, preparation), metrics, settings.max_in_flight)
    return Core(catalog, preparation, predictor, metrics)


def _backend(settings: Settings) -> Backend:
    repository = Repository(settings.repository)
    if settings.backend is BackendName.embedded:
        return EmbeddedBackend(repository, ProfileStore.at(settings.cache))
    from service.backends.tf_serving import TFServingBackend

    return TFServingBackend(settings.target, repository if settings.repository.is_dir() else None)
