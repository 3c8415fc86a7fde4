"""What the URL of /predict, /embed and /similar says: which model, and how it should answer."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

from starlette.datastructures import QueryParams
from starlette.types import Scope

from service.api.predict.body import check_template_has_labels
from service.api.predict.detections import Choice
from service.errors import InvalidInput
from service.types import CandidateLabels, ModelRef

TOP_K = "5"
# As TensorFlow's Object Detection API draws them (visualize_boxes_and_labels_on_image_array).
MIN_SCORE, MAX_DETECTIONS = "0.5", "20"

_PATH = re.compile("/(predict|embed|similar)/([^/]+)")
_SWITCHES = ("calibrated", "features", "normalize", "known", "seen")
_PARAMETERS: Mapping[str, tuple[str, ...]] = {
    "predict": ("version", "label", "top_k", *_SWITCHES, "min_score", "max_detections", "labels", "template"),
    "embed": ("version", "label", "normalize"),
    "similar": ("version", "label", "top_k"),
}
_SHARE = re.compile(r"[0-9]{0,4}\.?[0-9]{1,20}")
_SWITCH = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Target:
    """The model, how many labels or images of it, whether with calibrated probabilities, with features, these of length
    1, whether it says that it knows such images and shows what it was given, which detections, and among which labels,
    where the model has none of its own.
    """

    ref: ModelRef
    top_k: int
    calibrated: bool
    features: bool
    normalize: bool
    known: bool
    seen: bool
    detections: Choice
    candidates: CandidateLabels | None


def find_ref(scope: Scope) -> ModelRef | None:
    """The model that is asked; None where the target is another route's. Raises InvalidInput for a bad query."""
    found = _PATH.fullmatch(scope["path"])
    if found is None:
        return None
    query = scope["query_string"]
    return read_target(found[1], found[2], QueryParams(query)).ref if query else ModelRef(found[2])


def read_target(asked: str, model: str, query: QueryParams) -> Target:
    """`asked` is predict, embed or similar.

    Raises InvalidInput, also for a parameter that does not exist: one that is misspelt would be without effect.
    """
    for name in query:
        if name not in _PARAMETERS[asked]:
            there = ", ".join(_PARAMETERS[asked])
            raise InvalidInput(f"invalid query: expected parameters among {there}, got {name[:40]!r}")
    top = _parse_count("top_k", query.get("top_k", TOP_K))
    calibrated, features, normalize, known, seen = (_parse_switch(name, query.get(name, "false")) for name in _SWITCHES)
    choice = Choice(
        _parse_share("min_score", query.get("min_score", MIN_SCORE)),
        _parse_count("max_detections", query.get("max_detections", MAX_DETECTIONS)),
    )
    ref = ModelRef.parse(model, query.get("version"), query.get("label"))
    return Target(ref, top, calibrated, features, normalize, known, seen, choice, _read_candidates(query))


def _read_candidates(query: QueryParams) -> CandidateLabels | None:
    labels, template = query.get("labels"), query.get("template")
    if labels is None:
        check_template_has_labels(template is not None)
        return None
    names = tuple(label.strip() for label in labels.split(",")) if labels.strip() else ()
    return CandidateLabels(names, "{}" if template is None else template)


def _parse_count(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 7 and int(text) > 0):
        raise InvalidInput(f"invalid {name}: expected a whole number from 1, got {text[:40]!r}")
    return int(text)


def _parse_share(name: str, text: str) -> float:
    if not _SHARE.fullmatch(text) or float(text) > 1:
        raise InvalidInput(f"invalid {name}: expected a number from 0 to 1, got {text[:40]!r}")
    return float(text)


def _parse_switch(name: str, text: str) -> bool:
    if text not in _SWITCH:
        raise InvalidInput(f"invalid {name}: expected true or false, got {text[:40]!r}")
    return _SWITCH[text]
