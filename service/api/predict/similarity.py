"""A result's features, and what they say beside the training images of the version that answered."""

from dataclasses import replace

import numpy as np
from starlette.requests import Request

from service.api.http.request import admit
from service.api.predict.body import parse_body
from service.errors import InvalidInput
from service.predictor import Predictor
from service.repository.image_index import normalize
from service.repository.manifest import FEATURES
from service.types import Array, ModelRef, PredictResult, TrainingImages


async def predict_features(predictor: Predictor, request: Request, ref: ModelRef) -> PredictResult:
    """The answer of `ref` with features: alone where the signature gives them, else beside the outputs, from the same
    run.
    """
    async with admit(predictor, request, ref) as admitted:
        manifest = admitted.manifest
        manifest.check_features()
        asked = await parse_body(request, manifest, FEATURES)
        alone = FEATURES in manifest.signature(asked.signature).outputs
        return await admitted.predict(replace(asked, outputs=(FEATURES,)) if alone else replace(asked, features=True))


def find_features(result: PredictResult, normalized: bool) -> Array:
    """float32 [N, D] in one piece, of length 1 each where `normalized`.

    Raises InvalidInput where the answer has none, as an ensemble's, or has no row of numbers an image.
    """
    features = result.outputs.get(FEATURES)
    if features is None:
        raise InvalidInput(
            f"{result.ref} answers for several models, and their features are not one's: ask one of them"
        )
    if features.ndim != 2 or features.dtype.kind != "f":
        raise InvalidInput(
            f"invalid features of {result.ref}: expected a row of floats an image, got {features.dtype} "
            f"{list(features.shape)}"
        )
    return normalize(features) if normalized else np.ascontiguousarray(features, np.float32)


def find_index(result: PredictResult) -> TrainingImages:
    """Raises InvalidInput where the version that answered has no training images beside it."""
    if result.index is None:
        raise InvalidInput(
            f"model {str(result.ref)!r} has no index of training images: it was exported without any, or before there "
            "were such indices; export it again with --data"
        )
    return result.index


def check_known(threshold: float | None, ref: ModelRef) -> float:
    """Raises InvalidInput where there is no threshold."""
    if threshold is None:
        raise InvalidInput(
            f"model {str(ref)!r} has no threshold that tells known images from others: its export found none, or "
            "several models answer; leave known=true out, or export it again with --data"
        )
    return threshold


def find_known(result: PredictResult) -> list[bool]:
    """Whether each image is as near to some training image as all but few of the validation images are.

    Raises InvalidInput.
    """
    threshold = check_known(result.known_threshold, result.ref)
    found: list[bool] = (find_index(result).measure_familiarity(find_features(result, False)) >= threshold).tolist()
    return found
