"""Which loaded version a reference means, or why there is none."""

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

from service.errors import InvalidInput, NotFound, NotReady
from service.models.version import Servable, State, Status
from service.types import ModelRef

Shows = Callable[[str], bool]
"""Whether the caller may read a model's name in an error."""


@dataclass(eq=False)
class Model:
    """One name: the versions that answer, what is known of all, the fingerprints that failed, those of them that
    lack what an older version has, by that version, the versions that were found at the last look, and what has been
    loading for too long: its version and fingerprint.
    """

    servables: dict[int, Servable] = field(default_factory=dict)
    statuses: dict[int, Status] = field(default_factory=dict)
    failed: dict[int, str] = field(default_factory=dict)
    behind: dict[int, int] = field(default_factory=dict)
    found: Collection[int] = ()
    overdue: tuple[int, str] | None = None


def find(models: Mapping[str, Model], ref: ModelRef, trouble: str, shows: Shows) -> Servable:
    """`trouble` is why nothing can be answered yet, empty where something can.

    Raises NotFound or InvalidInput, saying what there is, or NotReady while it is loading.
    """
    model = models.get(ref.name)
    if model is None:
        if trouble:
            raise NotReady(trouble)
        raise build_unknown_error(models, ref, shows)
    if ref.label is not None:
        return _labelled(model, ref)
    version = ref.version if ref.version is not None else max(model.servables, default=-1)
    if version in model.servables:
        return model.servables[version]
    wanted = model.statuses.values() if ref.version is None else filter(None, [model.statuses.get(version)])
    if any(status.state is State.LOADING for status in wanted):
        raise NotReady(f"model {str(ref)!r} is still loading; ask again shortly")
    available = sorted(model.servables, reverse=True)
    reasons = [
        f"; version {s.version} failed: {s.error}"
        for s in model.statuses.values()
        if s.error and version in (-1, s.version)
    ]
    raise NotFound(
        f"Servable not found for request: {ref.as_servable()}; available versions: {available}{''.join(reasons)}",
        available_versions=available,
    )


def build_unknown_error(models: Mapping[str, Model], ref: ModelRef, shows: Shows) -> NotFound:
    """The error for a name that no model has."""
    names = [name for name in sorted(models) if models[name].servables and shows(name)]
    return NotFound(f"Servable not found for request: {ref.as_servable()}; models here: {names}", models=names)


@contextmanager
def translate_label_error(ref: ModelRef, asked: str | None) -> Iterator[None]:
    """A label of `ref` that is missing and that no client `asked` for is a route's target that is not there: NotFound,
    where whoever names a label that there is not makes a mistake.
    """
    try:
        yield
    except InvalidInput as error:
        if ref.label in (None, asked) or "labels" not in error.detail:
            raise
        raise NotFound(error.message, **error.detail) from error


def explain_none(models: Mapping[str, Model], shows: Shows, passed_over: Mapping[str, str]) -> str:
    """Why no model answers although the repository could be read; what lies there is not served for the reasons of
    `passed_over`, by path.
    """
    shown = [(name, model) for name, model in sorted(models.items()) if shows(name)]
    if any(status.state is State.LOADING for _, model in shown for status in model.statuses.values()):
        return "the models are still loading"
    failed = [f"{name}/{number}: {model.statuses[number].error}" for name, model in shown for number in model.failed]
    if failed:
        return f"no model could be loaded: {_first(failed)}"
    if any(model.failed for model in models.values()):
        return "no model could be loaded; the log says why"
    if passed_over:
        return f"there are no models: {_first([f'{path} {why}' for path, why in passed_over.items()])}"
    return "there are no models; export one with `python -m export --model mobilenet_v3_small`"


def _first(reasons: Sequence[str]) -> str:
    return reasons[0] + (f" (and {len(reasons) - 1} more, in the log)" if len(reasons) > 1 else "")


def _labelled(model: Model, ref: ModelRef) -> Servable:
    """The newest version of a precision: every export carries its own as a label."""
    by_label = {model.servables[version].manifest.precision: version for version in sorted(model.servables)}
    if ref.label not in by_label:
        known = sorted(label for label in by_label if label)
        raise InvalidInput(f"model {ref.name!r} has no version label {ref.label!r}; labels here: {known}", labels=known)
    return model.servables[by_label[ref.label]]
