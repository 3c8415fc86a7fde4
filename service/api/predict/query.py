"""What the URL of /predict, /embed and /similar says: which model, and how it should answer."""

import re
from dataclasses import dataclass

from starlette.datastructures import QueryParams
from starlette.types import Scope

from service.errors import InvalidInput
from service.types import ModelRef

TOP_K = "5"

_TARGET = re.compile("/(?:predict|embed|similar)/([^/]+)")
_SWITCH = {"true": True, "false": False}


@dataclass(frozen=True, slots=True)
class Target:
    """The model, how many labels or images of it, whether with calibrated probabilities, with features, these of length
    1, and whether it says that it knows such images.
    """

    ref: ModelRef
    top_k: int
    calibrated: bool
    features: bool
    normalize: bool
    known: bool


def find_ref(scope: Scope) -> ModelRef | None:
    """The model that is asked; None where the target is another route's. Raises InvalidInput for a bad query."""
    found = _TARGET.fullmatch(scope["path"])
    if found is None:
        return None
    query = scope["query_string"]
    return read_target(found[1], QueryParams(query)).ref if query else ModelRef(found[1])


def read_target(model: str, query: QueryParams) -> Target:
    """Raises InvalidInput."""
    top = _top_k(query.get("top_k", TOP_K))
    calibrated, features, normalize, known = (
        _parse_switch(name, query.get(name, "false")) for name in ("calibrated", "features", "normalize", "known")
    )
    ref = ModelRef.parse(model, query.get("version"), query.get("label"))
    return Target(ref, top, calibrated, features, normalize, known)


def _top_k(text: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 7 and int(text) > 0):
        raise InvalidInput(f"invalid top_k: expected a whole number from 1, got {text[:40]!r}")
    return int(text)


def _parse_switch(name: str, text: str) -> bool:
    if text not in _SWITCH:
        raise InvalidInput(f"invalid {name}: expected true or false, got {text[:40]!r}")
    return _SWITCH[text]
