"""Where rounding hurts: forms of an int8 scheme with ever more of the network left in float32."""

from collections.abc import Iterator
from dataclasses import replace
from math import inf, isfinite
from pathlib import Path
from typing import Any

import numpy as np

from export.quantize.convert import Convertible
from export.quantize.evaluate import answers
from export.quantize.schemes import MIXED, Scheme
from service.plurals import format_items

_STRETCHES = 8
_IN_FLOAT = (1, 2, 4)


def forms(scheme: Scheme, convertible: Convertible, float_model: Path | bytes, images: Any) -> Iterator[Scheme]:
    """First without its first and last layer, which see pixels and decide; then without its most sensitive
    stretches, ranked on `images` (uint8 [N, H, W, 3]) by the error against `float_model` that is left with each alone
    in float. One that the quantizer cannot leave in float by itself, or whose error is no number, comes last.
    """
    if layers := convertible.layers:
        yield _without(scheme, "first and last layer", (layers[0], layers[-1]))
    wanted = answers(float_model, images)

    def error(stretch: tuple[str, ...]) -> float:
        try:
            given = answers(convertible.under(replace(scheme, floats=stretch)), images)
        except (ValueError, RuntimeError):
            return inf
        apart = float(np.abs(given - wanted).mean())
        return apart if isfinite(apart) else inf

    operations = np.array_split(np.array(convertible.operations, object), _STRETCHES)
    ranked = sorted((tuple(stretch) for stretch in operations if len(stretch)), key=error)
    for count in _IN_FLOAT:
        names = tuple(name for stretch in ranked[:count] for name in stretch)
        yield _without(scheme, f"{count} of {format_items(len(ranked), 'part')}", names)


def _without(scheme: Scheme, what: str, floats: tuple[str, ...]) -> Scheme:
    return replace(scheme, name=f"{scheme.name}, {what} float32", precision=MIXED, floats=floats)
