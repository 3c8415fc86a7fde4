"""What a model is given for an image, as a PNG: `/predict?seen=true`."""

import asyncio
import base64
import io

import numpy as np
from PIL import Image

from service.errors import InvalidInput
from service.predictor import Predictor
from service.repository.manifest import Manifest
from service.types import Array, ModelRef, Pixels, PredictRequest


async def draw_seen(predictor: Predictor, manifest: Manifest, ref: ModelRef, request: PredictRequest) -> str:
    """The request's one image, upright and of the model's size, as a PNG in base64.

    Raises InvalidInput where there are several, and where the model is given no pixels.
    """
    if request.rows != 1:
        raise InvalidInput(f"invalid seen: expected one image, got {request.rows}")
    given = list((await predictor.preprocess(manifest, request)).values())
    if len(given) != 1 or not _is_image(given[0]):
        raise InvalidInput(f"model {str(ref)!r} is given tensors, no pixels: leave seen=true out")
    return base64.b64encode(await asyncio.to_thread(_encode_png, given[0][0])).decode()


def _is_image(array: Array) -> bool:
    """Whether these are [N, height, width, 1 or 3] uint8."""
    return array.dtype == np.uint8 and array.ndim == 4 and array.shape[3] in (1, 3)


def _encode_png(pixels: Pixels) -> bytes:
    """[height, width, 1 or 3] uint8 -> PNG."""
    picture = io.BytesIO()
    Image.fromarray(pixels if pixels.shape[-1] == 3 else pixels[..., 0]).save(picture, "PNG", compress_level=1)
    return picture.getvalue()
